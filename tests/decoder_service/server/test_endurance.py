"""What held under attack, on a small scale; with 10^6 rounds and frames in `scripts/benchmarks/service`."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from decoder_service.client import DecoderClient
from decoder_service.server import ServerConfig, ServerFrontEnd, WorkerConfig
from decoder_service.session import KEPT_OUTPUTS
from decoder_service.store import StateFolder

GROWTH = 0.03
"""Of memory; a leak of 16 bytes a round would be more."""


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_reconnects_before_every_row_cost_nothing(serve, kit) -> None:
    """With what was sent before them on its way, or answered already, or half of it."""
    server = serve()
    shots = kit.sample(6, seed=77)
    with server.client() as client:
        stream = client.open(kit.text, **kit.options)
        reconnects = 0
        for shot in shots:
            for row in kit.rows(shot, stream.shape):
                if reconnects % 3 == 1:
                    client.sync(stream)
                elif reconnects % 3 == 2:
                    client.poll(0)
                client.sock.shutdown(2)
                client.reconnect()
                reconnects += 1
                client.push(stream, row)
        client.sync(stream)
        while stream.in_flight or not stream.outputs[-1].final:
            client.poll(1)
        assert reconnects == 48
        assert kit.summaries(list(stream.outputs)) == kit.in_process(shots)
        assert stream.errors == []


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rounds(serve, kit) -> None:
    server = serve(fresh="long")
    (worker,) = server.pids
    shots = kit.sample(50, seed=78)
    with server.client() as client:
        stream = client.open(kit.text, **kit.options)
        count, outputs, full = 0, 0, 0
        while count < 60_000:
            kit.push_all(client, stream, shots)
            count += shots.shape[0] * stream.shape.rounds
            outputs += len(stream.outputs)
            stream.outputs.clear()
            if not full and outputs > 1.5 * KEPT_OUTPUTS:
                full = resident(worker)
        stats = client.stats(stream)
        assert (stats.rounds, stats.commits, stats.in_flight) == (count, outputs, 0)
    assert resident(worker) < (1 + GROWTH) * full


@pytest.mark.slow
def test_a_server_that_starts_while_the_last_one_drains_takes_its_sessions_up(
    kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for the state folder, and keeps its socket when the other one is gone."""
    lock = StateFolder.lock
    monkeypatch.setattr(StateFolder, "lock", lambda folder: lock(folder, 60.0))  # machines with much to do
    config = ServerConfig(worker=WorkerConfig(state=str(tmp_path / "state"), drain=1.0), unix=tmp_path / "s")
    shots = kit.sample(3, seed=79)
    resumed = threading.Event()
    in_the_middle = threading.Event()

    def stream() -> list:
        with DecoderClient(tmp_path / "s", timeout=60) as client:
            stream = client.open(kit.text, **kit.options)
            kit.push_all(client, stream, shots[:1])
            left = kit.begin_shot(client, stream, shots[1])
            in_the_middle.set()
            assert resumed.wait(120)
            kit.come_back(client)
            assert client.welcome.resumed
            kit.end_shot(client, stream, left)
            kit.push_all(client, stream, shots[2:])
            return kit.summaries(list(stream.outputs))

    async def serve_twice() -> list:
        async with ServerFrontEnd(config) as first:
            streaming = asyncio.create_task(asyncio.to_thread(stream))
            await asyncio.to_thread(in_the_middle.wait)
            successor = ServerFrontEnd(config)
            starting = asyncio.create_task(successor.__aenter__())
            await asyncio.sleep(0.2)
            assert not starting.done(), "the folder is the first one's"
            assert first.supervisor.pids
        await starting
        resumed.set()
        try:
            assert (tmp_path / "s").is_socket()
            return await streaming
        finally:
            await successor.close()

    assert asyncio.run(serve_twice()) == kit.in_process(shots)
