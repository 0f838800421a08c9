"""What a hostile client, user or accident did to the service once; whoever is beside it notices nothing."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from decoder_service.client import ServiceError
from decoder_service.protocol import ErrorCode, Open
from decoder_service.server import ServerConfig, WorkerConfig
from decoder_service.server.server_stream import WINDOW_BYTES, ServerStream
from decoder_service.session import StreamShape
from decoder_service.store import segments


def test_a_number_that_is_opened_again_is_another_stream_after_a_crash(serve, kit) -> None:
    """The first life's rounds were taken for the second's: wrong corrections, without a flag."""
    server = serve(fresh="again")
    first, second = kit.sample(3, seed=90), kit.sample(2, seed=91)
    with server.client() as client:
        stream = client.open(kit.text, number=5, **kit.options)
        kit.push_all(client, stream, first)
        client.close_stream(stream)
        stream = client.open(kit.text, number=5, **kit.options)
        left = kit.begin_shot(client, stream, second[0])
        for crash in range(2):  # within one shot
            os.kill(server.pids[0], signal.SIGKILL)
            kit.come_back(client)
            client.push(stream, left[crash])
            client.sync(stream)
        kit.end_shot(client, stream, left[2:])
        kit.push_all(client, stream, second[1:])
        assert kit.summaries(list(stream.outputs)) == kit.in_process(second)


def test_a_ruined_journal_costs_its_stream_alone(serve, kit) -> None:
    """It closed the session for ever."""
    server = serve(fresh="ruined")
    shots = kit.sample(2, seed=92)
    with server.client(timeout=10) as client:
        ruined, whole = client.open(kit.text, **kit.options), client.open(kit.text, **kit.options)
        kit.begin_shot(client, ruined, shots[0])
        left = kit.begin_shot(client, whole, shots[0])
        folder = server.config.worker.folder
        (segment,) = segments(folder.journals, client.session, ruined.number)
        path = segment.path(folder.journals)
        path.write_bytes(os.urandom(path.stat().st_size))
        os.kill(server.pids[0], signal.SIGKILL)
        with pytest.raises(ServiceError, match="lost: stream 0") as lost:
            kit.come_back(client)
        assert lost.value.code is ErrorCode.RESUME_LOST
        assert list(client.streams.values()) == [whole]
        kit.end_shot(client, whole, left)
        kit.push_all(client, whole, shots[1:])
        assert kit.summaries(list(whole.outputs)) == kit.in_process(shots)
    assert any(copy.name.startswith(path.name) for copy in folder.damaged.iterdir())


ONE_LAYER = "detector(0, 0, 0) D0\nerror(0.1) D0 L0\n"
GREEDY = {
    "a bit of an output for each of a thousand million observables": (
        f"{ONE_LAYER}logical_observable L1000000000\n",
        "observables; the limit is 4096|memory",
    ),
    "ten million observables": (
        f"{ONE_LAYER}logical_observable L10000000\n",
        "10000001 observables; the limit is 4096",
    ),
    "no detectors": ("", "the model has no detectors"),
    "one layer": (ONE_LAYER, "1 layers of detectors; a shot needs two"),
}


@pytest.mark.parametrize("name", GREEDY)
def test_a_model_that_asks_for_more_than_there_is_costs_its_stream(serve, kit, name: str) -> None:
    server = serve()
    (worker,) = server.pids
    text, message = GREEDY[name]
    with server.client() as client:
        with pytest.raises(ServiceError, match=message) as refused:
            client.open(text, kind="dem", input="detectors", **kit.options)
        assert refused.value.code is ErrorCode.BAD_MODEL
        assert client.open(kit.text, **kit.options).opened is not None
    assert server.pids == [worker]


class Wide:
    """A decoder of rounds of so many bits."""

    model_id = b"\x01" * 8
    row_decoder = SimpleNamespace

    def __init__(self, bits: int) -> None:
        self.shape = StreamShape(layers=((1, 8), (3, bits)), final_bits=8, num_observables=1, commit=2)


def test_long_rounds_have_a_window_that_fits_into_memory(tmp_path: Path) -> None:
    """An OPEN of a model with rounds of 250 KB took 2 GB for its window."""
    config = WorkerConfig(state=str(tmp_path))
    os.close(config.folder.lock())
    given: Any = (Open(model="0" * 64), None)

    def begun(number: int, bits: int) -> ServerStream:
        return ServerStream.begun("0" * 32, number, given[0], cast(Any, Wide(bits)), given[1], config)

    assert begun(0, 800).head.window == config.window
    assert begun(1, 8 * 65_534).head.window == WINDOW_BYTES // 65_534
    with pytest.raises(ValueError, match="a round has 65535 bytes, and a frame at most 65536"):
        begun(2, 8 * 65_534 + 1)


def test_pages_are_answered_however_many_ask(serve) -> None:
    """Any user of the machine could take all file descriptors of the server."""
    server = serve(http=0)
    port = server.front_end.http_port
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
    for sock in silent[32:]:
        sock.settimeout(10)
        assert sock.recv(1) == b"", "those past the limit are closed at once"
    for sock in silent:
        sock.close()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert sock.recv(12) == b"HTTP/1.1 200"


def test_a_state_folder_that_is_a_file_or_a_port_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file; give a folder"):
        ServerConfig(worker=WorkerConfig(state=str(tmp_path / "file")), unix=tmp_path / "s")
    with pytest.raises(ValueError, match="http=99999 is no port"):
        ServerConfig(worker=WorkerConfig(state=str(tmp_path / "new")), unix=tmp_path / "s", http=99999)
