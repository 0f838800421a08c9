"""Batches on several workers at once, in order: what is asked of a worker, and `in_order`."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack
from typing import Protocol

import numpy as np

__all__ = ["Pending", "Worker", "in_order"]


class Worker(Protocol):
    """What computes batches by itself: a device, or in tests a thread."""

    def submit(self, packed: np.ndarray, *, wait: bool = True) -> Pending | None:
        """Begin a batch. Where as many are under way as there may be, wait, or give None."""
        ...


class Pending(Protocol):
    """A batch that is under way."""

    def results(self) -> dict[str, np.ndarray]:
        """Wait for it; arrays that are the caller's until `done`."""
        ...

    def done(self) -> None:
        """Let what it occupies be used again."""
        ...


def in_order(jobs: Iterable[tuple[Worker, np.ndarray]]) -> Generator[dict[str, np.ndarray], None, None]:
    """Hand batches to workers, to each as many as it takes; yields their results in the order of the jobs.

    What is yielded may be used until the next one is asked for. While it is, all workers go on.
    """
    waiting: deque[Pending] = deque()

    def oldest() -> Iterator[dict[str, np.ndarray]]:
        pending = waiting.popleft()
        try:
            yield pending.results()
        finally:
            pending.done()

    try:
        for worker, packed in jobs:
            # Whoever holds batches must not wait for others to give theirs back: they may wait for these.
            while (pending := worker.submit(packed, wait=not waiting)) is None:
                yield from oldest()
            waiting.append(pending)
        while waiting:
            yield from oldest()
    finally:
        with ExitStack() as left:  # one worker that fails does not keep the others from their batches
            for pending in reversed(waiting):
                left.callback(pending.done)
