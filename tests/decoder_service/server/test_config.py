"""Settings that no server could run with are named when they are given."""

from pathlib import Path
from typing import Any

import pytest

from decoder_service.server import ServerConfig, TcpAddress, WorkerConfig

NAN, INFINITE = float("nan"), float("inf")


def _worker(**settings: Any) -> WorkerConfig:
    return WorkerConfig(state="state", **settings)


@pytest.mark.parametrize("name", ["gap_deadline", "slow_reader", "time_slice"])
@pytest.mark.parametrize("seconds", [NAN, INFINITE, -1.0, 0.0])
def test_times_above_zero(name: str, seconds: float) -> None:
    with pytest.raises(ValueError, match=f"{name}={seconds} is no time"):
        _worker(**{name: seconds})


@pytest.mark.parametrize("name", ["linger", "drain", "busy_poll"])
def test_times_that_may_be_zero(name: str) -> None:
    assert getattr(_worker(**{name: 0.0}), name) == 0
    for seconds in (NAN, INFINITE, -1.0):
        with pytest.raises(ValueError, match=f"{name}={seconds} is no time"):
            _worker(**{name: seconds})


@pytest.mark.parametrize("port", [-1, 65536, 99999])
def test_ports(port: int, tmp_path: Path) -> None:
    worker = _worker()
    with pytest.raises(ValueError, match=f"http={port} is no port"):
        ServerConfig(worker=worker, unix=tmp_path / "s", http=port)
    with pytest.raises(ValueError, match=f"TCP port {port} is no port"):
        ServerConfig(worker=worker, tcp=TcpAddress("127.0.0.1", port))


def test_the_state_is_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "state"
    file.write_text("")
    with pytest.raises(ValueError, match=f"{file} is a file"):
        ServerConfig(worker=WorkerConfig(state=str(file)), unix=tmp_path / "s")
    assert ServerConfig(worker=WorkerConfig(state=str(tmp_path / "new")), unix=tmp_path / "s")


@pytest.mark.parametrize("name", ["window", "streams", "models"])
def test_counts(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}=0 must be at least 1"):
        _worker(**{name: 0})
