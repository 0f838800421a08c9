"""The process that starts all others: when it cannot, or is stopped itself."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from decoder_service.server import WorkerConfig, control, processes
from decoder_service.server.watcher import Watcher


def test_a_process_that_cannot_be_started_ends_none_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the limit of processes it ended itself, and with it all workers."""

    def fork() -> int:
        raise BlockingIOError("as many processes as there may be")

    monkeypatch.setattr(os, "fork", fork)
    ours, theirs = control.pair()
    watcher = Watcher(theirs, beat=10.0)
    worker, copy = socket.socketpair()
    message = control.StartWorker(7, 0, WorkerConfig(state=str(tmp_path)))
    watcher._do(message, [copy.detach()])
    ended, _ = control.receive(ours, control.FromWatcher)
    assert (ended.process, ended.status) == (7, 1)
    assert "as many processes as there may be" in ended.error
    assert worker.recv(1) == b"", "no copy of its descriptor is left"
    for end in (ours, theirs, worker):
        end.close()


def test_a_watcher_that_cannot_start_is_started_ever_more_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installation that was replaced under a running server took a core, and filled the log."""
    monkeypatch.setattr(processes, "START", "raise SystemExit(3)")
    opened: list[float] = []

    class Counted(processes.Processes):
        def open(self, lock: int) -> None:
            opened.append(time.monotonic())
            super().open(lock)

    async def main() -> None:
        counted = Counted(tmp_path, beat=10.0)
        with (tmp_path / "lock").open("w") as lock:
            counted.open(lock.fileno())
            while len(opened) < 4:
                await asyncio.sleep(0.01)
            counted.close()

    asyncio.run(main())
    waits = [later - earlier for earlier, later in itertools.pairwise(opened)]
    assert waits[1] > processes.FIRST
    assert waits[2] > 2 * processes.FIRST


def test_a_watcher_that_is_lost_where_no_process_can_be_started_comes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the limit of processes no other one was ever started, and workers that were gone never replaced."""
    popen, refused = subprocess.Popen, 0

    def refuse(*_: object, **__: object) -> None:
        nonlocal refused
        refused += 1
        raise BlockingIOError("as many processes as there may be")

    async def main() -> None:
        running = processes.Processes(tmp_path, beat=10.0)
        with (tmp_path / "lock").open("w") as lock, socket.socket() as sock:
            monkeypatch.setattr(processes, "START", "import time; time.sleep(60)")
            running.open(lock.fileno())
            first = running.pid
            process = running.start(lambda number: control.Kill(number), sock.fileno())
            monkeypatch.setattr(processes.subprocess, "Popen", refuse)
            os.kill(first, signal.SIGKILL)
            assert await asyncio.wait_for(process.ended, 10.0) == -signal.SIGKILL
            while refused < 2:
                await asyncio.sleep(0.01)
            with pytest.raises(OSError, match="Bad file descriptor"):
                running.start(lambda number: control.Kill(number), sock.fileno())
            monkeypatch.setattr(processes.subprocess, "Popen", popen)
            while running.pid == first:
                await asyncio.sleep(0.01)
            running.close()

    asyncio.run(main())


@pytest.mark.slow
def test_a_stopped_watcher_is_replaced_and_what_it_started_too(serve, kit) -> None:
    """SIGSTOP: no model was built any more, and no worker that ended replaced."""
    server = serve(fresh="stopped watcher", deadline=4.0)
    shots = kit.sample(4, seed=76)
    with server.client(timeout=10) as client:
        stream = client.open(kit.text, **kit.options)
        kit.push_all(client, stream, shots[:2])
        (worker,) = server.pids
        watcher = server.front_end.processes.pid
        os.kill(watcher, signal.SIGSTOP)
        kit.wait_for(lambda: bool(server.pids) and server.pids != [worker])
        assert server.front_end.processes.pid != watcher
        kit.come_back(client)
        kit.push_all(client, stream, shots[2:])
        assert kit.summaries(list(stream.outputs)) == kit.in_process(shots)
