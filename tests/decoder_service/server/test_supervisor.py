"""Processes of a server: replaced when they end or hang, and ended with it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from decoder_service.client import DecoderClient, DisconnectedError, ServiceError
from decoder_service.server import status
from decoder_service.server.metrics import COUNTER_BYTES
from decoder_service.server.supervisor import FIRST, MOST, backoff

SERVER = """
import asyncio, sys
from pathlib import Path
from decoder_service.server import ServerConfig, ServerFrontEnd, WorkerConfig

async def main():
    folder = Path(sys.argv[1])
    config = ServerConfig(worker=WorkerConfig(state=str(folder / "state")), unix=folder / "s")
    async with ServerFrontEnd(config) as server:
        print(*server.pids, server._processes.pid, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def come_back(client) -> None:
    for _ in range(200):
        try:
            client.reconnect()
        except (DisconnectedError, ServiceError):
            time.sleep(0.05)
            continue
        return
    raise AssertionError("the session did not come back")


def test_waits_double_up_to_a_bound() -> None:
    waits = [backoff(ends) for ends in range(1, 41)]
    assert waits[:4] == [0.0, FIRST, 2 * FIRST, 4 * FIRST]
    assert max(waits) == waits[-1] == MOST


def test_a_worker_that_dies_again_and_again_is_started_ever_more_seldom(serve) -> None:
    server = serve(fresh="dies")
    front_end = server.front_end
    deadline = time.monotonic() + 60
    while front_end.restart_delay < 2 * FIRST:
        assert time.monotonic() < deadline
        for pid in front_end.pids:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    assert front_end.restarts >= 3
    page = status.prometheus_text(front_end).decode()
    assert f"qecpipe_worker_restart_delay_seconds {front_end.restart_delay}" in page
    wait_for(lambda: bool(front_end.pids))
    with server.client() as client:
        assert client.welcome.resumed is False


def test_a_stopped_worker_is_replaced_and_its_sessions_go_on(serve, kit) -> None:
    """SIGSTOP: it hung its sessions, and most new ones, and nothing was said of it."""
    server = serve(fresh="stopped", deadline=4.0)  # a machine with much to do is no stopped worker
    shots = kit.sample(4, seed=70)
    with server.client(timeout=10) as client:
        stream = client.open(kit.text, **kit.options)
        kit.push_all(client, stream, shots[:2])
        (worker,) = server.pids
        os.kill(worker, signal.SIGSTOP)
        wait_for(lambda: bool(server.pids) and server.pids != [worker])
        assert not alive(worker)
        come_back(client)
        kit.push_all(client, stream, shots[2:])
        assert kit.summaries(list(stream.outputs)) == kit.in_process(shots)
    assert server.front_end.restarts == 1


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
        wait_for(lambda: (folder / f"{worker}.json").exists())
        assert {path.stat().st_size for path in counters} == {COUNTER_BYTES}
        shutil.rmtree(folder)
        removed = time.monotonic()
        (watched,) = server.front_end.supervisor.workers
        wait_for(lambda: watched.heard > removed + 3.5)  # several reports later, by its beats
        assert server.pids == [worker]
        assert server.front_end.restarts == 0
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
        os.kill(server.front_end._processes.pid, signal.SIGKILL)
        wait_for(lambda: not alive(worker))
        come_back(client)
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
        *rounds, final = kit.rows(shots[3], stream.shape)
        for row in rounds[:4]:
            client.push(stream, row)
        client.sync(stream)
        server.kill()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        server.stdout.readline()  # the lock of the killed one is free, and its socket replaced
        come_back(client)
        assert client.welcome.resumed
        for row in rounds[4:]:
            client.push(stream, row)
        client.finish(stream, final)
        kit.push_all(client, stream, shots[4:])
        assert kit.summaries(list(stream.outputs)) == kit.in_process(shots)
        client.close()
        server.kill()


def test_all_end_with_a_server_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        pids = list(map(int, server.stdout.readline().split()))
        assert len(pids) == 2
        assert all(map(alive, pids))
        server.kill()
    wait_for(lambda: not any(map(alive, pids)), 10.0)
