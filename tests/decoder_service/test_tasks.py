"""Jobs of one line are done one after the other, whatever they end with, and nothing is left of them."""

from __future__ import annotations

import asyncio
import gc

from decoder_service.tasks import Tasks


def test_jobs_of_a_line_wait_for_one_another_and_those_of_others_do_not() -> None:
    done: list[str] = []
    faults: list[str] = []

    async def job(name: str, *, after: asyncio.Event) -> None:
        await after.wait()
        done.append(name)
        if name == "a2":
            raise ZeroDivisionError(name)

    async def main() -> Tasks:
        tasks = Tasks(lambda fault: faults.append(str(fault)))
        first, never = asyncio.Event(), asyncio.Event()
        now = asyncio.Event()
        now.set()
        tasks.start(lambda: job("a1", after=first), line="a")
        tasks.start(lambda: job("a2", after=now), line="a")
        tasks.start(lambda: job("a3", after=now), line="a")
        tasks.start(lambda: job("b1", after=now), line="b")
        tasks.start(lambda: job("alone", after=now))
        await asyncio.sleep(0.01)
        assert done == ["alone", "b1"] or done == ["b1", "alone"]
        first.set()
        await asyncio.sleep(0.01)
        tasks.start(lambda: job("a4", after=never), line="a")
        tasks.start(lambda: job("a5", after=now), line="a")
        await asyncio.sleep(0.01)
        await tasks.cancel()
        return tasks

    tasks = asyncio.run(main())
    assert done[2:] == ["a1", "a2", "a3"]
    assert faults == ["a2"]
    gc.collect()  # of the exception's frames
    assert not list(tasks._lines)
    assert not tasks._running
