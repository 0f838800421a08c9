"""The process that builds a model ends with the worker, or with the stream, that it is for."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from decoder_service.protocol import Open
from decoder_service.server import build_process
from decoder_service.server.build_process import MODULE, BuildProcess, Model, Request
from decoder_service.server.decoding import build_decoder
from global_decoders.windows import WindowSizes

PARENT = f"""
import os, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
process = subprocess.Popen([sys.executable, "-m", "{MODULE}", str(os.getpid())])
print(process.pid, flush=True)
process.wait()
"""


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _children() -> list[int]:
    """Of all threads; one that was joined may end between the listing and the reading."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += map(int, (task / "children").read_text().split())
    return found


def _wait_for(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _takes_sigterm(pid: int) -> bool:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return not int(status["SigIgn"], 16) >> (signal.SIGTERM - 1) & 1


@pytest.mark.parametrize("how", ["SIGTERM", "worker", "worker at once"])
def test_it_ends_though_its_input_stays_open(how: str) -> None:
    """By SIGTERM, which workers ignore; with its worker, killed after, or before it asked for that."""
    read, write = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=read, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        builder = int(parent.stdout.readline())
        if how != "worker at once":
            _wait_for(lambda: _takes_sigterm(builder))
        if how == "SIGTERM":
            os.kill(builder, signal.SIGTERM)
        else:
            parent.kill()
    _wait_for(lambda: not _alive(builder))
    os.close(read)
    os.close(write)


def test_it_ends_with_its_stream(kit) -> None:
    model = Model(kit.text, "circuit")
    request = Request(model, model, WindowSizes(2, 2, "sliding"), "pymatching", "", 100)
    builder = BuildProcess()
    before = set(_children())
    errors: list[str] = []

    def prepare() -> None:
        with pytest.raises(ValueError, match="ended with -9") as caught:
            builder.prepare(request)
        errors.append(str(caught.value))

    thread = threading.Thread(target=prepare)
    thread.start()
    _wait_for(lambda: bool(set(_children()) - before))
    builder.close()
    thread.join(30)
    assert errors
    assert not set(_children()) - before
    with pytest.raises(ValueError, match="has ended"):
        builder.prepare(request)


def test_nobody_rests_from_the_work_of_others(kit, monkeypatch) -> None:
    """Building went on only after four times as long as others had been at work in between."""
    clock = SimpleNamespace(now=0.0, slept=0.0)

    def sleep(seconds: float) -> None:
        clock.slept += seconds

    monkeypatch.setattr(build_process, "time", SimpleNamespace(perf_counter=lambda: clock.now, sleep=sleep))
    decoder = build_decoder(Open(model="0" * 64, **kit.options), kit.text)
    other = str(kit.other.detector_error_model(decompose_errors=True))
    for work in (
        decoder.complete,
        lambda: decoder.prepare(other, "dem", separate_process=True),
        decoder.complete,
    ):
        clock.now += 1000
        assert work()
    assert clock.slept == 0
