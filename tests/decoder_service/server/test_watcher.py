"""The process that starts all others: when it cannot, or is stopped itself."""

from __future__ import annotations

import asyncio
import errno
import io
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest

from decoder_service.protocol import Open
from decoder_service.server import WorkerConfig, control, jobs, processes, watcher
from decoder_service.server.supervisor import Supervisor
from decoder_service.server.watcher import Watcher
from decoder_service.server.worker import Worker
from decoder_service.store import ModelLimitError, ModelStore


def test_a_process_that_cannot_be_started_ends_none_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the limit of processes it ended itself, and with it all workers."""

    def fork() -> int:
        raise BlockingIOError("as many processes as there may be")

    monkeypatch.setattr(os, "fork", fork)
    ours, theirs = control.pair()
    worker, copy = socket.socketpair()
    message = control.StartWorker(7, 0, WorkerConfig(state=str(tmp_path)))
    Watcher(theirs, beat=10.0)._do(message, [copy.detach()])
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


def test_a_process_whose_end_cannot_be_heard_of_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the limit of files the watcher had forked already, and ended with all workers."""

    def pidfd_open(_: int) -> int:
        raise OSError(errno.EMFILE, "as many files as there may be")

    ours, theirs = control.pair()
    begun = Watcher(theirs, beat=10.0)
    child = subprocess.Popen(["sleep", "60"])
    monkeypatch.setattr(os, "fork", lambda: child.pid)
    monkeypatch.setattr(os, "pidfd_open", pidfd_open)
    worker, copy = socket.socketpair()
    message = control.StartWorker(7, 0, WorkerConfig(state=str(tmp_path)))
    begun._do(message, [copy.detach()])
    begun._do(message, [])
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)
    child.wait()
    for reason in ("as many files as there may be", "no file descriptor left"):
        ended, _ = control.receive(ours, control.FromWatcher)
        assert (ended.process, ended.status) == (7, 1)
        assert reason in ended.error
    assert worker.recv(1) == b"", "no copy of its descriptor is left"
    for end in (ours, theirs, worker):
        end.close()


def test_a_process_ends_where_nobody_reads_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """It went on in the watcher's code, as another one with the same socket."""

    class Unread(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError(errno.EPIPE, "nobody reads")

    class Exited(Exception):
        """In place of the end of this process."""

    def leave(status: int) -> NoReturn:
        raise Exited(status)

    def fail() -> None:
        raise ValueError("its fault")

    monkeypatch.setattr(os, "fork", lambda: 0)
    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(watcher, "end_with", lambda _: None)
    monkeypatch.setattr(sys, "stderr", Unread())
    for run, status in ((lambda: None, 0), (fail, 1)):
        ours, theirs = control.pair()
        with ours, pytest.raises(Exited) as exited:
            Watcher(theirs, beat=10.0)._fork(run)
        assert exited.value.args == (status,)


def test_a_watcher_that_hangs_before_its_first_beat_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server whose first one hung never started, nor did it ever say so."""

    async def main() -> None:
        running = processes.Processes(tmp_path, beat=10.0)
        config = WorkerConfig(state=str(tmp_path), beat=0.05)
        supervisor = Supervisor(config, running, cast(Any, None), workers=1, deadline=0.1)
        with (tmp_path / "lock").open("w") as lock:
            running.open(lock.fileno())
            first, now = running.pid, running.heard
            assert not running.hangs(now + 59.0, 10.0)
            assert running.hangs(now + 61.0, 10.0)
            assert not running.hangs(now + 61.0, 100.0)
            running._message()  # there is none yet
            monkeypatch.setattr(processes, "START_DEADLINE", 0.1)
            with pytest.raises(RuntimeError, match="while it started"):
                await asyncio.wait_for(supervisor.start(), 30.0)
            assert running.pid != first
            await supervisor.drain(0.0)
            running.close()

    monkeypatch.setattr(processes, "START", "import time; time.sleep(60)")
    asyncio.run(main())


def test_housekeeping_that_fails_is_told_of_and_goes_on(tmp_path: Path) -> None:
    """A fault of ours ended it without a word: no status, no `linger`, no `touch` from then on."""

    def look(fault: Exception | None) -> None:
        looked.append(fault)
        if fault is not None:
            raise fault

    looked: list[Exception | None] = []

    async def main() -> list[control.FromWorker]:
        ours, theirs = control.pair()
        config = WorkerConfig(state=str(tmp_path))
        os.close(config.folder.lock())
        worker = Worker(theirs, config, slot=0)
        fault = KeyError("a number too many")
        for argument in (fault, fault, None, OSError(errno.ENOSPC, "no room")):
            await worker._tidy(look, argument)
        await asyncio.sleep(0)  # what is said is said in the loop
        worker._jobs.close()
        theirs.close()
        said = list(iter(lambda: control.receive(ours, control.FromWorker)[0], None))
        ours.close()
        return said

    said = asyncio.run(main())
    assert len(looked) == 4
    assert [line.event for line in said if isinstance(line, control.Event)] == [
        "worker fault",
        "housekeeping failed",
        "housekeeping failed",
    ]


def test_loads_at_once_share_the_room_that_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them saw it as its own."""
    room = threading.Event()
    monkeypatch.setattr(jobs, "resident_bytes", lambda: 100)
    monkeypatch.setattr(jobs, "build_of", lambda _: None)
    monkeypatch.setattr(jobs, "stored_tables", lambda *_: bytes(60))
    monkeypatch.setattr(jobs, "decoder_from", lambda *_, **__: room.wait(30.0))
    monkeypatch.setattr(ModelStore, "text", lambda *_: "")

    async def main() -> None:
        config = WorkerConfig(state=str(tmp_path), memory_bytes=200)
        os.close(config.folder.lock())
        loads = jobs.Jobs(config, lambda _: None)
        answers: asyncio.Queue[Any] = asyncio.Queue()
        options = cast(Open, type("Options", (), {"model": ""}))

        answer = answers.put_nowait
        loads.decoder("first", options, answer)
        loads.decoder("second", options, answer)
        refused = await asyncio.wait_for(answers.get(), 30.0)
        assert isinstance(refused, ModelLimitError)
        room.set()
        assert await asyncio.wait_for(answers.get(), 30.0) is True
        loads.decoder("third", options, answer)
        assert await asyncio.wait_for(answers.get(), 30.0) is True, "the room is free again"
        loads.close()

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
        stopped = server.front_end.processes.pid
        os.kill(stopped, signal.SIGSTOP)
        kit.wait_for(lambda: bool(server.pids) and server.pids != [worker])
        assert server.front_end.processes.pid != stopped
        kit.come_back(client)
        kit.push_all(client, stream, shots[2:])
        assert kit.summaries(list(stream.outputs)) == kit.in_process(shots)
