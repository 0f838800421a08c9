"""Settings that no server could run with are named when they are given."""

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from decoder_service.scheduling import check_schedule, schedule
from decoder_service.server import ServerConfig, TcpAddress, WorkerConfig

NAN, INFINITE = float("nan"), float("inf")


def _worker(**settings: Any) -> WorkerConfig:
    return WorkerConfig(state="state", **settings)


@pytest.mark.parametrize("name", ["gap_deadline", "slow_reader", "time_slice"])
@pytest.mark.parametrize("seconds", [NAN, INFINITE, -1.0, 0.0])
def test_times_above_zero(name: str, seconds: float) -> None:
    with pytest.raises(ValueError, match=f"{name}={seconds} is no time"):
        _worker(**{name: seconds})


def test_cores_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match=r"cores \[4096\] are none of those"):
        ServerConfig(WorkerConfig(state="s", cores=(0, 4096)), unix=Path("q.sock"))


def test_a_thread_is_put_on_its_cores_and_before_others() -> None:
    found: list[tuple[set[int], int]] = []

    def look(realtime: bool) -> None:
        schedule((core,), realtime=realtime)
        found.append((os.sched_getaffinity(0), os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK))

    core = max(os.sched_getaffinity(0))
    permitted = [(False, os.SCHED_OTHER)]
    if os.geteuid() == 0:
        check_schedule((core,), realtime=True)
        permitted.append((True, os.SCHED_FIFO))
    else:
        with pytest.raises(ValueError, match="ulimit -r 1"):
            check_schedule((core,), realtime=True)
    for realtime, policy in permitted:
        thread = threading.Thread(target=look, args=(realtime,))
        thread.start()
        thread.join()
        assert found.pop() == ({core}, policy)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


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
