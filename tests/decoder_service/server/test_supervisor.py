"""Processes of a server: replaced when they end or hang, and ended with it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import pytest

from decoder_service.client import DecoderClient
from decoder_service.protocol import Error, ErrorCode, Frame, FrameParser, decode_message
from decoder_service.server import WorkerConfig, control, status
from decoder_service.server.metrics import COUNTER_BYTES
from decoder_service.server.processes import FIRST, MOST, SERVED, Backoff
from decoder_service.server.supervisor import Supervisor, Worker
from decoder_service.server.worker import Worker as WorkerProcess
from decoder_service.store import PART

SERVER = """
import asyncio, sys
from pathlib import Path
from decoder_service.server import ServerConfig, ServerFrontEnd, WorkerConfig

async def main():
    folder = Path(sys.argv[1])
    config = ServerConfig(worker=WorkerConfig(state=str(folder / "state")), unix=folder / "s")
    async with ServerFrontEnd(config) as server:
        print(*server.supervisor.pids, server.processes.pid, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_waits_double_up_to_a_bound() -> None:
    backoff = Backoff()
    waits = [backoff.after(0.0) for _ in range(40)]
    assert waits[:4] == [0.0, FIRST, 2 * FIRST, 4 * FIRST]
    assert max(waits) == waits[-1] == MOST
    assert [backoff.after(served) for served in (SERVED, 0.5, 2.0, -math.inf)] == [0.0, FIRST, 0.0, FIRST]


def test_a_worker_that_dies_again_and_again_is_started_ever_more_seldom(serve, kit) -> None:
    server = serve(fresh="dies")
    supervisor = server.front_end.supervisor
    deadline = time.monotonic() + 60
    while supervisor.restart_delay < 2 * FIRST:
        assert time.monotonic() < deadline
        for pid in supervisor.pids:
            with contextlib.suppress(ProcessLookupError):  # it is over, and the supervisor not told yet
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    assert supervisor.restarts >= 3
    page = status.prometheus_text(observed(server)).decode()
    assert f"qecpipe_worker_restart_delay_seconds {supervisor.restart_delay}" in page
    kit.wait_for(lambda: bool(supervisor.pids))
    with server.client() as client:
        assert client.welcome.resumed is False


def observed(server) -> status.Observed:
    front_end = server.front_end
    folder = front_end.config.worker.folder.run
    return status.Observed(front_end.supervisor, front_end.handshakes, front_end.builds, folder)


def test_counts_go_on_when_a_worker_is_replaced_and_leave_no_files_behind(serve, kit) -> None:
    """Every worker that ended left 130 KB: a worker that cannot live, 700 MB a day."""
    server = serve(fresh="counts")
    folder = server.config.worker.folder.run

    def files() -> set[str]:
        return {path.name for path in folder.iterdir() if path.suffix != PART}

    with server.client() as client:
        kit.push_all(client, client.open(kit.text, **kit.options), kit.sample(3, seed=74))
        kit.wait_for(lambda: status.status(observed(server))["counters"]["shots"] == 3)
        (worker,) = server.pids
        before = files()
        os.kill(worker, signal.SIGKILL)
        kit.wait_for(lambda: bool(server.pids) and server.pids != [worker])
        assert [shown["pid"] for shown in status.status(observed(server))["workers"]] in ([], server.pids)
        kit.come_back(client)
        (stream,) = client.streams.values()
        kit.push_all(client, stream, kit.sample(2, seed=75))
        kit.wait_for(lambda: status.status(observed(server))["counters"]["shots"] == 5)
        assert files() == before == {"counter_0.db", "histogram_0.db", "worker_0.json"}


def test_a_stopped_worker_is_replaced_and_its_sessions_go_on(serve, kit) -> None:
    """SIGSTOP: it hung its sessions, and most new ones, and nothing was said of it."""
    server = serve(fresh="stopped", deadline=4.0)  # a machine with much to do is no stopped worker
    shots = kit.sample(4, seed=70)
    with server.client(timeout=10) as client:
        stream = client.open(kit.text, **kit.options)
        kit.push_all(client, stream, shots[:2])
        (worker,) = server.pids
        os.kill(worker, signal.SIGSTOP)
        kit.wait_for(lambda: bool(server.pids) and server.pids != [worker])
        assert not alive(worker)
        kit.come_back(client)
        kit.push_all(client, stream, shots[2:])
        assert kit.summaries(list(stream.outputs)) == kit.in_process(shots)
    assert server.front_end.supervisor.restarts == 1


def test_sessions_of_a_worker_that_ended_are_waited_for_as_long_as_it_would_have(serve, kit) -> None:
    """They counted for ever: after the crash of a full server nobody new came in."""
    server = serve(fresh="crowd", sessions=2, worker={"linger": 1.5})
    supervisor = server.front_end.supervisor
    sessions = set()
    for _ in range(2):
        client = server.client()
        client.open(kit.text, **kit.options)
        sessions.add(client.session)
        client.sock.close()
    (worker,) = server.pids
    os.kill(worker, signal.SIGKILL)
    kit.wait_for(lambda: bool(server.pids) and server.pids != [worker])
    assert supervisor.sessions <= sessions
    kit.wait_for(lambda: not supervisor.sessions)
    with server.client() as client, server.client(session=sessions.pop()) as late:
        assert not client.welcome.resumed
        assert late.welcome.resumed, "its journals stayed"


def told(
    supervisor: Supervisor, worker: Worker, theirs: socket.socket, *messages: control.FromWorker
) -> None:
    """Has a supervisor read messages of a worker."""
    for message in messages:
        control.send(theirs, message)
        supervisor._message(worker)


def test_a_session_that_begins_again_as_it_ends_stays_where_it_is() -> None:
    """With two workers, the next connection could have gone to the other: two owners of one journal."""

    async def main() -> None:
        ours, theirs = control.pair()
        config = WorkerConfig(state="state")
        supervisor = Supervisor(config, cast(Any, None), cast(Any, None), workers=1, deadline=10.0)
        worker = supervisor.slots[0].worker = Worker(ours, cast(Any, None))
        name = "0" * 32
        for number in (1, 2):
            with socket.socket() as sock:
                worker.assign(number, name, sock)
            _, descriptors = control.receive(theirs, control.ToWorker)
            os.close(descriptors[0])

        def tell(*messages: control.FromWorker) -> None:
            for message in messages:
                control.send(theirs, message)
                supervisor._message(worker)

        tell(control.Closed(1), control.SessionEnded(name))
        assert supervisor.sessions == {name}, "connection 2 is on its way to the worker"
        assert supervisor.connections_of(name) == 1
        tell(control.Closed(2), control.SessionEnded(name))
        assert supervisor.sessions == set()
        ours.close()
        theirs.close()

    asyncio.run(main())


def test_a_session_that_cannot_be_taken_up_takes_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counted as one of the worker's for ever."""
    name = "0" * 32

    async def restored(*_: object) -> None:
        raise RuntimeError("a disk that fails")

    async def main() -> list[control.FromWorker]:
        monkeypatch.setattr("decoder_service.server.jobs.Jobs.restored", restored)
        ours, theirs = control.pair()
        config = WorkerConfig(state=str(tmp_path), beat=60.0)
        os.close(config.folder.lock())
        serving = asyncio.create_task(WorkerProcess(theirs, config, slot=0).run())
        client, copy = socket.socketpair()
        control.send(ours, control.AssignConnection(3, name), descriptors=[copy.detach()])
        answer = await asyncio.to_thread(client.recv, 1 << 16)
        (frame,) = FrameParser().feed(answer)
        assert isinstance(frame, Frame)
        assert decode_message(frame.payload, Error).code is ErrorCode.INTERNAL
        said = []
        while not said or not isinstance(said[-1], control.SessionEnded):
            said.append((await asyncio.to_thread(control.receive, ours, control.FromWorker))[0])
        for sock in (ours, client):
            sock.close()
        await serving
        theirs.close()
        return said

    said = asyncio.run(main())
    assert said[-2:] == [control.Closed(3), control.SessionEnded(name)]


def test_a_worker_that_cannot_write_its_status_serves_on(serve, kit) -> None:
    """On a full disk: it once gave no sign of life any more then, and was ended with all its sessions."""
    server = serve(fresh="untidy")
    folder = server.config.worker.folder.run
    counters = list(folder.glob("*.db"))
    assert {path.stat().st_blocks * 512 for path in counters} == {COUNTER_BYTES}, (
        "no page of a map needs room"
    )
    with server.client(timeout=10) as client:
        stream = client.open(kit.text, **kit.options)
        (worker,) = server.pids
        kit.wait_for(lambda: (folder / "worker_0.json").exists())
        assert {path.stat().st_size for path in counters} == {COUNTER_BYTES}
        shutil.rmtree(folder)
        removed = time.monotonic()
        (watched,) = server.front_end.supervisor.workers
        kit.wait_for(lambda: watched.heard > removed + 3.5)  # several reports later, by its beats
        assert server.pids == [worker]
        assert server.front_end.supervisor.restarts == 0
        shots = kit.sample(2, seed=73)
        kit.push_all(client, stream, shots)
        assert kit.summaries(list(stream.outputs)) == kit.in_process(shots)


@pytest.mark.slow
def test_a_watcher_that_is_killed_is_replaced_with_all_it_started(serve, kit) -> None:
    server = serve(fresh="watcher")
    shots = kit.sample(4, seed=71)
    with server.client(timeout=10) as client:
        stream = client.open(kit.text, **kit.options)
        kit.push_all(client, stream, shots[:2])
        (worker,) = server.pids
        os.kill(server.front_end.processes.pid, signal.SIGKILL)
        kit.wait_for(lambda: not alive(worker))
        kit.come_back(client)
        kit.push_all(client, stream, shots[2:])
        assert kit.summaries(list(stream.outputs)) == kit.in_process(shots)


@pytest.mark.slow
def test_a_server_that_is_killed_and_started_again_goes_on_where_it_was(kit, tmp_path: Path) -> None:
    shots = kit.sample(6, seed=72)
    command = [sys.executable, "-c", SERVER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        server.stdout.readline()
        client = DecoderClient(tmp_path / "s", timeout=60)
        stream = client.open(kit.text, **kit.options)
        kit.push_all(client, stream, shots[:3])
        left = kit.begin_shot(client, stream, shots[3])
        server.kill()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        server.stdout.readline()  # the lock of the killed one is free, and its socket replaced
        kit.come_back(client)
        assert client.welcome.resumed
        kit.end_shot(client, stream, left)
        kit.push_all(client, stream, shots[4:])
        assert kit.summaries(list(stream.outputs)) == kit.in_process(shots)
        client.close()
        server.kill()


def test_all_end_with_a_server_that_is_killed(kit, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        pids = list(map(int, server.stdout.readline().split()))
        assert len(pids) == 2
        assert all(map(alive, pids))
        server.kill()
    kit.wait_for(lambda: not any(map(alive, pids)), 10.0)
