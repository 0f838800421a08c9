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

_Block = tuple[np.ndarray | None, np.ndarray | None]
"""uint8 (rounds, bytes), packed, and 0/1 of the final row; None where a block has none."""
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
    prepared = _prepare(shots, plan)
    with undisturbed():
        calls, rows_sent, overloaded = _push_all(decoders, shots, prepared, plan, max_lag)
    arrivals = _arrivals(calls, plan.streams)
    return LoadReport.of(plan, shots, arrivals, rows_sent=rows_sent, overloaded=overloaded)


def _push_all(
    decoders: Sequence[StreamDecoder],
    shots: ShotSet,
    prepared: list[dict[int, _Block]],
    plan: LoadPlan,
    max_lag: float,
) -> tuple[list[_Call], list[int], bool]:
    """Everything that gave an output, the rows pushed of each stream, and whether it was given up."""
    blocks = plan.blocks
    columns = (blocks.due, blocks.stream, blocks.epoch, blocks.first, blocks.count)
    spin, most = usual_spin_ns(), max_lag * 1e9
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
        decoder, (rounds, final) = decoders[stream], prepared[shots.index(stream, epoch)][first]
        if not first:
            decoder.open(epoch)
        if rounds is not None:
            commits = decoder.push_rounds(first, rounds)
            if commits:
                calls.append((clock() - start, now, stream, commits))
        if final is not None:
            result = decoder.finish(final)
            calls.append((clock() - start, now, stream, result))
        rows_sent[stream] += count
    return calls, rows_sent, False


def _prepare(shots: ShotSet, plan: LoadPlan) -> list[dict[int, _Block]]:
    """Of every shot, its blocks by their first rows."""
    last = shots.rows_per_shot - 1
    width = max(len(row) for row in shots.rows[0][:-1])
    found = []
    for shot in shots.rows:
        rounds = np.zeros((last, width), dtype=np.uint8)
        for number, row in enumerate(shot[:-1]):
            rounds[number, : len(row)] = np.frombuffer(row, dtype=np.uint8)
        final = np.unpackbits(
            np.frombuffer(shot[-1], dtype=np.uint8), count=shots.shape.final_bits, bitorder="little"
        )
        blocks: dict[int, _Block] = {}
        for first in range(0, last + 1, plan.rounds_per_block):
            stop = min(first + plan.rounds_per_block, last + 1)
            part = rounds[first : min(stop, last)]
            blocks[first] = (part if len(part) else None, final if stop > last else None)
        found.append(blocks)
    return found


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
