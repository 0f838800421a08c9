"""Who takes the place of a worker that died, and when: with workers that are only sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import pytest

from decoder_service.server import control, supervisor
from decoder_service.server.backoff import FIRST, SERVED
from decoder_service.server.config import WorkerConfig
from decoder_service.server.supervisor import Supervisor, WorkerHandle


class Fakes:
    """Starts workers that do what the test says, at times that it says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self._theirs: dict[int, socket.socket] = {}
        monkeypatch.setattr(supervisor, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(supervisor.subprocess, "Popen", self._popen)
        monkeypatch.setattr(control, "pair", self._pair)
        self._last: socket.socket | None = None

    async def ready(self, handle: WorkerHandle) -> None:
        """The worker says that it is ready."""
        control.send(self._end(handle), control.Ready(1))
        await asyncio.sleep(0.01)

    async def dies(self, handle: WorkerHandle) -> None:
        """The worker is gone."""
        self._end(handle).close()
        await asyncio.sleep(0.01)

    def _end(self, handle: WorkerHandle) -> socket.socket:
        return self._theirs[id(handle.process)]

    def _pair(self) -> tuple[socket.socket, socket.socket]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._last = theirs.dup()
        return ours, theirs

    def _popen(self, command: list[str], **options: object) -> SimpleNamespace:
        process = SimpleNamespace(pid=1, kill=lambda: None, wait=lambda: -9, poll=lambda: -9)
        assert self._last is not None
        self._theirs[id(process)] = self._last
        return process


def _run(
    monkeypatch: pytest.MonkeyPatch, story: Callable[[Fakes, Supervisor], Awaitable[None]], *, spares: int
) -> None:
    async def main() -> None:
        fakes = Fakes(monkeypatch)
        tested = Supervisor(WorkerConfig(state=""), workers=1, spares=spares)
        starting = asyncio.create_task(tested.start(-1))
        await asyncio.sleep(0.01)
        await fakes.ready(tested.workers[0])
        await starting
        await story(fakes, tested)
        await tested.drain(0.0)
        for end in fakes._theirs.values():
            end.close()

    asyncio.run(main())


def test_a_worker_serves_from_the_time_that_it_is_ready(monkeypatch) -> None:
    """The time that it takes to start once counted, which was enough to be started again for ever at once."""

    async def story(fakes: Fakes, tested: Supervisor) -> None:
        for death in range(3):
            fakes.now += 2 * SERVED  # it starts
            await fakes.ready(tested.workers[0])
            fakes.now += SERVED / 10
            await fakes.dies(tested.workers[0])
            assert tested.restart_delay == [0.0, FIRST, 2 * FIRST][death]
            await asyncio.sleep(tested.restart_delay)
        fakes.now += 2 * SERVED
        await fakes.dies(tested.workers[0])  # it never was ready
        assert tested.restart_delay == 4 * FIRST

    _run(monkeypatch, story, spares=0)


def test_a_spare_that_is_ready_steps_in_at_once(monkeypatch) -> None:
    """However often workers of this place have died; only the start of a new spare has to wait."""

    async def story(fakes: Fakes, tested: Supervisor) -> None:
        for death in range(3):
            worker = tested.workers[0]
            await fakes.ready(tested._spares[0])
            await fakes.dies(worker)
            assert tested.restart_delay == [0.0, FIRST, 2 * FIRST][death]
            assert tested.workers[0] is not worker
            assert not tested.workers[0].lost
            assert len(tested._spares) == (not tested.restart_delay)
            await asyncio.sleep(tested.restart_delay + 0.05)
            assert len(tested._spares) == 1

    _run(monkeypatch, story, spares=1)


def test_a_spare_that_gets_ready_steps_in_for_a_worker_that_waits(monkeypatch) -> None:
    async def story(fakes: Fakes, tested: Supervisor) -> None:
        late = tested._spares[1]
        await fakes.ready(tested._spares[0])
        await fakes.dies(tested.workers[0])  # the first spare steps in
        await fakes.dies(tested.workers[0])
        assert tested.workers[0].lost
        await fakes.ready(late)
        assert tested.workers[0] is late
        await asyncio.sleep(FIRST + 0.05)
        assert tested.workers[0] is late
        assert len(tested._spares) == 2

    _run(monkeypatch, story, spares=2)
