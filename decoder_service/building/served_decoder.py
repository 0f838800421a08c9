"""The decoder behind a stream: packed rows in, outcomes out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np

from _qecpipe import PythonDecoder, StreamRowDecoder
from decoder_service.protocol import Flag
from decoder_service.session import Outcome, StreamShape
from decoder_service.streaming import Commit, StreamDecoder, StreamModel
from decoder_service.streaming import Flag as CommitFlag

LISTED_ROUNDS = 4096
"""Widths of this many rounds are asked for; a longer shot must have come to one width by then."""
STEADY_ROUNDS = 64


class ServedDecoder:
    """A StreamDecoder in rows of the wire; a `RoundDecoder`.

    Args:
        inner: warm, for shots of `rounds` rounds.
        commit: rounds between window boundaries.

    Raises:
        ValueError: shots of so many rounds have no widths that can be listed.
    """

    def __init__(self, inner: StreamDecoder, *, rounds: int, commit: int, num_observables: int) -> None:
        self.inner = inner
        self.shape = StreamShape(
            layers=_layers(inner, rounds),
            final_bits=inner.width(rounds, final=True),
            num_observables=num_observables,
            commit=commit,
        )
        self._model_id = bytes.fromhex(inner.model)

    @property
    def model_id(self) -> bytes:
        return self._model_id

    def row_decoder(self) -> StreamRowDecoder | PythonDecoder:
        """What the data plane decodes with: the stream itself, where it needs no Python, else this object."""
        shape, stream = self.shape, self.inner.models.native
        widths: dict[str, Any] = {
            "layers": list(shape.layers),
            "final_bits": shape.final_bits,
            "num_observables": shape.num_observables,
        }
        if stream is None:
            return PythonDecoder(decoder=self, **widths)
        self.inner.models.warn_of_short(shape.rounds)
        return StreamRowDecoder(stream, measured=self.inner.input == "measurements", **widths)

    def adopted(self, model_id: bytes) -> None:
        """It has."""
        self._model_id = model_id

    def open(self, epoch: int) -> None:
        self.inner.reset()
        self.inner.open(epoch)

    def push(self, sequence: int, bits: bytes, erased: bool, arrived: int) -> list[Outcome]:
        row = None if erased else _unpacked(bits, self.shape.bits(sequence))
        return _outcomes(self.inner.push(sequence, row, erased), arrived)

    def finish(self, bits: bytes, arrived: int) -> list[Outcome]:
        result = self.inner.finish(_unpacked(bits, self.shape.final_bits))
        outcomes = _outcomes(result.commits, arrived)
        readout = result.readout or b""
        return [*outcomes, outcomes[-1]._replace(frame_bits=result.frame, readout=readout, gap=result.gap)]

    def adopt(self, prepared: StreamModel, at_round: int) -> None:
        self.inner.adopt(prepared, at_round)
        self._model_id = bytes.fromhex(prepared.id)


def _unpacked(row: bytes, bits: int) -> np.ndarray:
    return np.unpackbits(np.frombuffer(row, dtype=np.uint8), count=bits, bitorder="little")


def _outcomes(commits: Sequence[Commit], arrived: int) -> list[Outcome]:
    done = time.monotonic_ns()
    return [
        Outcome(
            upto_round=commit.upto_round,
            frame_bits=commit.frame,
            model=bytes.fromhex(commit.model),
            time_in=arrived,
            time_out=done,
            flags=_WIRE_FLAGS[int(commit.flags)],
        )
        for commit in commits
    ]


_WIRE_FLAGS = [
    int((flags & CommitFlag.DEGRADED and Flag.DEGRADED) | (flags & CommitFlag.RELOADED and Flag.RELOADED))
    for flags in range(4)
]
"""The wire's flags by those of a Commit."""


def _layers(decoder: StreamDecoder, rounds: int) -> tuple[tuple[int, int], ...]:
    """Runs of (rounds, bits of each)."""
    widths = [decoder.width(round) for round in range(min(rounds, LISTED_ROUNDS))]
    runs = [(len(list(run)), bits) for bits, run in groupby(widths)]
    more = rounds - len(widths)
    if more and runs[-1][0] < STEADY_ROUNDS:
        raise ValueError(f"shots of {rounds} rounds need rounds of one width; the last have {widths[-4:]}")
    runs[-1] = (runs[-1][0] + more, runs[-1][1])
    return tuple(runs)
