"""What a gap costs: streams in this process with and without `gap=True`, on the same shots, in turns.

Only of a shot's last window both logical classes are found, so that its end takes longer and no other round
does.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from decoder_service.load import StreamOptions
from decoder_service.streaming import StreamDecoder
from scripts.benchmarks.results import markdown_table
from scripts.benchmarks.streaming.targets import Setup

__all__ = ["measure_gap", "render", "with_gaps"]

TURNS = 5
_CORRELATED = StreamOptions(commit=1, buffer=1, decoder="pymatching-correlated")


def with_gaps(setups: Sequence[Setup]) -> list[Setup]:
    """These rows, with correlated matching where plain matching has no gap on a surface code; each once."""
    found: dict[str, Setup] = {}
    for setup in setups:
        if setup.stream.decoder == "pymatching":
            setup = replace(setup, name=f"d = {setup.distance}, correlated", stream=_CORRELATED)
        found.setdefault(setup.name, setup)
    return list(found.values())


def measure_gap(setup: Setup, *, shot_rows: int, shots: int, p: float, seed: int = 50) -> dict[str, Any]:
    """A row: µs from the last round to the result, and µs a round of whole shots, without gaps and with.

    Args:
        shot_rows: rounds of a shot, the final one included.
        shots: decoded in each of the turns; the medians of these are what is told.
        p: physical error rate.

    Raises:
        RuntimeError: a shot has no gap, or other corrections with than without.
    """
    rounds = shot_rows - 1
    circuit = setup.circuit(rounds=rounds, p=p)
    measured = circuit.compile_sampler(seed=seed).sample(shots).astype(np.uint8)
    decoders = [replace(setup.options, gap=gap).build(circuit) for gap in (False, True)]
    for decoder in decoders:
        decoder.warm(rounds=rounds)
    decoders[1].require_gap(rounds=rounds)
    width = max(decoders[0].width(round) for round in range(rounds))
    ends: list[list[dict[str, float]]] = [[], []]
    for turn in range(TURNS + 1):
        results = [_turn(decoder, measured, rounds, width) for decoder in decoders]
        if [result.frame for result, _ in results[0][1]] != [result.frame for result, _ in results[1][1]]:
            raise RuntimeError(f"{setup.name}: with gaps, streams correct other errors than without")
        if any(result.gap is None for result, _ in results[1][1]):
            raise RuntimeError(f"{setup.name}: a shot has no gap")
        for found, (seconds, answers) in zip(ends, results, strict=True):
            if turn:  # the first one builds what is built when it is first needed
                last_us = [1e-3 * took for _, took in answers]
                found.append(
                    {
                        "round_us": 1e6 * seconds / (shots * shot_rows),
                        "end_p50_us": float(np.quantile(last_us, 0.5)),
                        "end_p99_us": float(np.quantile(last_us, 0.99)),
                    }
                )
    without, with_gap = (
        {name: round(statistics.median(turn[name] for turn in turns), 3) for name in turns[0]}
        for turns in ends
    )
    return {
        "name": setup.name,
        "rounds_per_shot": shot_rows,
        "shots": shots,
        "turns": TURNS,
        "without": without,
        "with": with_gap,
    }


def _turn(
    decoder: StreamDecoder, measured: np.ndarray, rounds: int, width: int
) -> tuple[float, list[tuple[Any, int]]]:
    """Seconds for all shots, and of each its result and the ns that its end took."""
    edges = np.cumsum([0, *(decoder.width(round) for round in range(rounds))])
    answers = []
    spent = 0.0
    for number, shot in enumerate(measured):
        rows = np.zeros((rounds, -(-width // 8)), dtype=np.uint8)
        for row, (start, stop) in enumerate(itertools.pairwise(edges)):
            packed = np.packbits(shot[start:stop], bitorder="little")
            rows[row, : len(packed)] = packed
        final = shot[edges[-1] :]
        begin = time.perf_counter_ns()
        decoder.open(number)
        decoder.push_rounds(0, rows)
        ending = time.perf_counter_ns()
        result = decoder.finish(final)
        end = time.perf_counter_ns()
        spent += 1e-9 * (end - begin)
        answers.append((result, end - ending))
    return spent, answers


def render(rows: Sequence[dict[str, Any]]) -> str:
    """A row for each decoder."""
    columns = (
        "what a gap costs, in process",
        "rounds of a shot",
        "end of a shot without, p50 / p99, µs",
        "with its gap, µs",
        "a round without, µs",
        "with gaps, µs",
    )
    return markdown_table(
        columns,
        (
            [
                row["name"],
                row["rounds_per_shot"],
                *(
                    f"{row[which]['end_p50_us']:.1f} / {row[which]['end_p99_us']:.1f}"
                    for which in ("without", "with")
                ),
                *(f"{row[which]['round_us']:.2f}" for which in ("without", "with")),
            ]
            for row in rows
        ),
    )
