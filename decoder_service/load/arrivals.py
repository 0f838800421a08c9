"""What came back: outputs with the time at which they were here, against what a stream must answer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from decoder_service.load.plan import LoadPlan
from decoder_service.load.shots import Answer, ShotSet

__all__ = ["Arrival", "Checked", "Counts", "check"]


class Arrival(NamedTuple):
    """An output that came back.

    Attributes:
        time: ns from the start.
        number: of the output on its stream in this run, from 0.
        epoch: shot of the stream in this run, from 0.
        answer: what it says.
        inside_ns: from a round's arrival at the decoder to the end of its decoding, as the decoder says.
        flags: of the output; 0 is none.
    """

    time: int
    number: int
    epoch: int
    answer: Answer
    inside_ns: int
    flags: int


@dataclass(frozen=True)
class Counts:
    """Outputs of one kind. Those of two streams add.

    Attributes:
        expected: for the rows that were sent.
        received: in all.
        lost: numbers that never came.
        doubled: numbers that came again.
        wrong: at the right place, but with other corrections than decoding one round at a time gives.
    """

    expected: int = 0
    received: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.expected + other.expected,
            self.received + other.received,
            self.lost + other.lost,
            self.doubled + other.doubled,
            self.wrong + other.wrong,
        )

    @property
    def faults(self) -> int:
        """Outputs that are not what they should be."""
        return self.lost + self.doubled + self.wrong


@dataclass(frozen=True, eq=False)
class Checked:
    """The outputs of one stream, each once and in order; arrays of one length.

    Attributes:
        commits, results: how many, and how many are as they should be.
        time: int64 ns from the start at which an output was here.
        late: int64 ns from the time at which the row that allows it was due.
        row: int64 row of the stream that allows it.
        final: bool; a RESULT.
        inside: int64 ns in the decoder.
        gaps: float32 nats of the RESULTs that have one.
        flagged: outputs with a flag, which nothing here should cause.
    """

    commits: Counts
    results: Counts
    time: np.ndarray
    late: np.ndarray
    row: np.ndarray
    final: np.ndarray
    inside: np.ndarray
    gaps: np.ndarray
    flagged: int


def check(
    arrivals: Sequence[Arrival], shots: ShotSet, plan: LoadPlan, *, stream: int, rows_sent: int
) -> Checked:
    """Compare what came back on a stream with what its first `rows_sent` rows must give."""
    kinds = {False: [0] * 5, True: [0] * 5}  # expected, received, lost, doubled, wrong
    came: dict[int, list[Arrival]] = {}
    for arrival in arrivals:
        came.setdefault(arrival.number, []).append(arrival)
        kinds[arrival.answer.final][1] += 1
    taken: list[tuple[Arrival, int]] = []
    number = -1
    for number, (epoch, row, answer) in enumerate(_expected(shots, stream=stream, rows=rows_sent)):
        found = came.get(number, [])
        counts = kinds[answer.final]
        counts[0] += 1
        counts[2] += not found
        counts[3] += max(0, len(found) - 1)
        if found:
            counts[4] += found[0].epoch != epoch or not _same(found[0].answer, answer)
            taken.append((found[0], row))
    for extra in (one for at in came if at > number for one in came[at]):
        kinds[extra.answer.final][4] += 1
    time = np.array([arrival.time for arrival, _ in taken], dtype=np.int64)
    row = np.array([row for _, row in taken], dtype=np.int64)
    return Checked(
        commits=Counts(*kinds[False]),
        results=Counts(*kinds[True]),
        time=time,
        late=time - plan.due(stream, row),
        row=row,
        final=np.array([arrival.answer.final for arrival, _ in taken], dtype=bool),
        inside=np.array([arrival.inside_ns for arrival, _ in taken], dtype=np.int64),
        gaps=np.array(
            [arrival.answer.gap for arrival, _ in taken if arrival.answer.gap is not None], dtype=np.float32
        ),
        flagged=sum(bool(arrival.flags) for arrival in arrivals),
    )


def _same(came: Answer, due: Answer) -> bool:
    """Whether an output says what it should; a gap but for what another engine of the network rounds."""
    if came._replace(gap=None) != due._replace(gap=None) or (came.gap is None) != (due.gap is None):
        return False
    return came.gap is None or due.gap is None or math.isclose(came.gap, due.gap, rel_tol=1e-3, abs_tol=1e-2)


def outputs_due(shots: ShotSet, *, stream: int, rows: int) -> int:
    """How many outputs the first `rows` rows of a stream must give."""
    whole, rest = divmod(rows, shots.rows_per_shot)
    cycle = [len(shots.answers[shots.index(stream, epoch)]) for epoch in range(len(shots.rows))]
    cycles, more = divmod(whole, len(cycle))
    begun = shots.allowed[shots.index(stream, whole)]
    return cycles * sum(cycle) + sum(cycle[:more]) + sum(row < rest for row in begun)


def _expected(shots: ShotSet, *, stream: int, rows: int) -> Iterator[tuple[int, int, Answer]]:
    """(shot, row of the stream that allows it, output), in order."""
    for epoch in range(-(-rows // shots.rows_per_shot)):
        index, before = shots.index(stream, epoch), epoch * shots.rows_per_shot
        for row, answer in zip(shots.allowed[index], shots.answers[index], strict=True):
            if before + row < rows:
                yield epoch, before + row, answer
