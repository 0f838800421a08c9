"""Load on decoders in this process: the same thread waits for due times and decodes."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from decoder_service.load.arrivals import Arrival
from decoder_service.load.pace import LEAD_NS, undisturbed, usual_spin_ns
from decoder_service.load.plan import LoadPlan
from decoder_service.load.report import LoadReport
from decoder_service.load.shots import ShotSet, answers_of
from decoder_service.streaming import Commit, Result, StreamDecoder

__all__ = ["run_in_process"]

_Call = tuple[int, int, int, list[Commit] | Result]
"""(end of the call, its begin, stream, what it gave back); ns from the start."""


def run_in_process(
    decoders: Sequence[StreamDecoder],
    shots: ShotSet,
    *,
    plan: LoadPlan,
    max_lag: float = float("inf"),
) -> LoadReport:
    """Push blocks when they are due; a decoder that is too slow makes them, and all after them, late.

    Args:
        decoders: warm, between shots, one a stream.
        shots: what is pushed.
        plan: when.
        max_lag: seconds that a block may be overdue before the run ends as overloaded.

    Raises:
        ValueError: the plan is not one for these decoders and shots.
    """
    if len(decoders) != plan.streams or shots.rows_per_shot != plan.rows_per_shot:
        raise ValueError(
            f"the plan is for {plan.streams} streams of shots of {plan.rows_per_shot} rows; there are "
            f"{len(decoders)} decoders and shots of {shots.rows_per_shot} rows"
        )
    bits = _unpacked(shots)
    with undisturbed():
        calls, rows_sent, overloaded = _push_all(decoders, shots, bits, plan, max_lag)
    arrivals = _arrivals(calls, plan.streams)
    return LoadReport.of(plan, shots, arrivals, rows_sent=rows_sent, overloaded=overloaded)


def _push_all(
    decoders: Sequence[StreamDecoder],
    shots: ShotSet,
    bits: list[list[np.ndarray]],
    plan: LoadPlan,
    max_lag: float,
) -> tuple[list[_Call], list[int], bool]:
    """Everything that gave an output, the rows pushed of each stream, and whether it was given up."""
    blocks = plan.blocks
    columns = (blocks.due, blocks.stream, blocks.epoch, blocks.first, blocks.count)
    spin, most = usual_spin_ns(), max_lag * 1e9
    last_row = plan.rows_per_shot - 1
    calls: list[_Call] = []
    rows_sent = [0] * plan.streams
    clock = time.perf_counter_ns
    start = clock() + LEAD_NS
    for due, stream, epoch, first, count in zip(*(column.tolist() for column in columns), strict=True):
        now = clock() - start
        while now < due:
            if due - now > spin:
                time.sleep((due - now - spin) / 1e9)
            now = clock() - start
        if now - due > most:
            for decoder in decoders:
                decoder.reset()
            return calls, rows_sent, True
        decoder, shot = decoders[stream], bits[shots.index(stream, epoch)]
        if not first:
            decoder.open(epoch)
        for row in range(first, first + count):
            found = decoder.finish(shot[row]) if row == last_row else decoder.push(row, shot[row])
            if found:
                calls.append((clock() - start, now, stream, found))
        rows_sent[stream] += count
    return calls, rows_sent, False


def _unpacked(shots: ShotSet) -> list[list[np.ndarray]]:
    widths = [shots.shape.bits(row) for row in range(shots.rows_per_shot)]
    return [
        [
            np.unpackbits(np.frombuffer(row, dtype=np.uint8), count=width, bitorder="little")
            for row, width in zip(shot, widths, strict=True)
        ]
        for shot in shots.rows
    ]


def _arrivals(calls: list[_Call], streams: int) -> list[list[Arrival]]:
    found: list[list[Arrival]] = [[] for _ in range(streams)]
    for end, begin, stream, outputs in calls:
        epoch, flags = _shot_and_flags(outputs)
        for answer in answers_of(outputs):
            number = len(found[stream])
            found[stream].append(Arrival(end, number, epoch, answer, end - begin, flags))
    return found


def _shot_and_flags(outputs: list[Commit] | Result) -> tuple[int, int]:
    commits = [outputs] if isinstance(outputs, Result) else outputs
    return commits[0].shot, int(np.bitwise_or.reduce([int(one.flags) for one in commits]))
