"""A shot that is being decoded: packed rows in, commits out."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from _qecpipe import StreamStatus
from decoder_service.streaming.commits import Commit, Flag, Result
from decoder_service.streaming.models import StreamModels

__all__ = ["OpenShot"]

_Found = list[tuple[int, bytes, int, str]]
"""What a native stream commits: (upto_round, frame, flags, id of the model) of each window."""


class OpenShot:
    """Drives a native stream through one shot, and builds windows that have no graph yet on the way.

    A ValueError of `push` or `finish` says that a window cannot be decoded, or not be built: the stream is
    closed then.

    Args:
        number: as its commits name it.
        models: whose stream decodes it; a shot of that stream that is open is forgotten.
        clock: gives ns for the commits' times.
    """

    def __init__(self, number: int, models: StreamModels, clock: Callable[[], int]) -> None:
        self.number = number
        self._models, self._stream, self._clock = models, models.stream, clock
        self._staged = models.open()

    def push(self, rows: np.ndarray, erased: np.ndarray | None, *, time_in: int) -> list[Commit]:
        """Decodes rounds, uint8 (rounds, bytes); `erased` are uint8 flags of each, or None."""
        stream, commits = self._stream, []
        step = len(rows) if self._staged is None else 1
        start = 0
        while start < len(rows):
            part = slice(start, start + step)
            taken, status, found = stream.push(rows[part], None if erased is None else erased[part])
            if self._staged is not None:
                status, found = stream.give_logits(self._staged.logits(stream, num_layers=None))
            commits += self._complete(status, found, time_in)
            start += taken
        return commits

    def finish(self, row: np.ndarray, *, time_in: int) -> Result:
        """Decodes the last round, uint8 (bytes,), and what is left."""
        stream, last = self._stream, self._stream.pushed
        status, found = stream.finish(row)
        if self._staged is not None:
            status, found = stream.give_logits(self._staged.logits(stream, num_layers=last + 1))
        if stream.was_short:
            self._models.warn_of_short(last)
        commits = self._complete(status, found, time_in)
        return Result(
            shot=self.number,
            rounds=last + 1,
            frame=stream.frame,
            readout=stream.readout if self._models.setup.input == "measurements" else None,
            commits=tuple(commits),
            flags=Flag(stream.flags),
            gap=None if math.isnan(stream.gap) else stream.gap,
        )

    def _complete(self, status: StreamStatus, found: _Found, time_in: int) -> list[Commit]:
        """Commits of a call, and of those that go on with it where a window had no graph yet."""
        commits = self._commits(found, time_in)
        while status is not StreamStatus.DONE:
            try:
                if status is StreamStatus.UNEXPLAINED:
                    raise ValueError("no set of edges explains the detections")
                self._models.build_missing()
            except ValueError as error:
                start, _, _, stop, *_ = self._stream.missing()[1]
                self._stream.close()
                raise ValueError(
                    f"shot {self.number} is closed: layers {start} to {stop - 1} cannot be decoded: {error}"
                ) from error
            status, found = self._stream.resume()
            commits += self._commits(found, time_in)
        return commits

    def _commits(self, found: _Found, time_in: int) -> list[Commit]:
        return [
            Commit(self.number, upto, frame, Flag(flags), model, time_in, self._clock())
            for upto, frame, flags, model in found
        ]
