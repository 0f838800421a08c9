"""What a round of a stream costs in this process, and what windows cost in accuracy.

    python -m scripts.benchmarks.streaming.in_process                        # all rows
    python -m scripts.benchmarks.streaming.in_process --rows d5-pymatching --rounds 200000
    python -m scripts.benchmarks.streaming.in_process --ler --min-errors 500  # windows against whole shots

Windows commit `distance` rounds with as many of look-ahead, at p = 0.003. Measured rounds are pushed in
blocks of `--block`, over and over from one long shot, and timed block by block: the sustained time of a round
is the mean. Each row is one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from decoder_service.streaming import StreamDecoder
from global_decoders import make_decoder
from global_decoders.windows import WindowedDecoder
from qec import depolarizing, memory_circuit

P = 0.003


@dataclass(frozen=True)
class Row:
    """A distance and a decoder, with the network before or in it."""

    distance: int
    decoder: str
    predecoder: str | None = None


ROWS = {
    "d5-pymatching": Row(5, "pymatching"),
    "d5-correlated": Row(5, "pymatching-correlated"),
    "d13-pymatching": Row(13, "pymatching"),
    "d13-correlated": Row(13, "pymatching-correlated"),
    "d5-neural-matching": Row(5, "neural-matching", "realtime"),
    "d13-neural-matching": Row(13, "neural-matching", "realtime"),
    "d5-realtime": Row(5, "pymatching", "realtime"),
    "d13-realtime": Row(13, "pymatching", "realtime"),
}


def time_rounds(row: Row, *, rounds: int, block: int, seed: int) -> dict[str, Any]:
    """Times of a round, in µs."""
    sampled = min(rounds, 20_000 // row.distance)
    circuit = memory_circuit(distance=row.distance, rounds=sampled, basis="x", noise=depolarizing(P))
    decoder = StreamDecoder(
        circuit, commit=row.distance, buffer=row.distance, decoder=row.decoder, predecoder=row.predecoder
    )
    decoder.warm()
    width = decoder.width(1)
    shot = circuit.compile_sampler(seed=seed).sample(1)[0, : sampled * width].reshape(sampled, width)
    rows = np.packbits(shot, axis=1, bitorder="little")
    blocks = [rows[start : start + block] for start in range(0, sampled - block + 1, block)]
    decoder.open(0)
    pushed, times, commits = 0, [], 0
    while pushed < rounds:
        begin = time.perf_counter_ns()
        found = decoder.push_rounds(pushed, blocks[pushed // block % len(blocks)])
        times.append(time.perf_counter_ns() - begin)
        commits += len(found)
        pushed += block
    decoder.reset()
    per_round = np.array(times[len(times) // 10 :]) / 1e3 / block
    quantiles = np.quantile(per_round, [0.5, 0.99])
    return {
        "rounds": pushed,
        "block": block,
        "commits": commits,
        "us_per_round": round(float(per_round.mean()), 3),
        "block_p50_us": round(float(quantiles[0] * block), 2),
        "block_p99_us": round(float(quantiles[1] * block), 2),
    }


def compare_windows(row: Row, *, min_errors: int, max_shots: int, seed: int) -> dict[str, Any]:
    """Errors of windows and of whole decoding on the same shots, and the upper bound of their ratio."""
    circuit = memory_circuit(
        distance=row.distance, rounds=4 * row.distance, basis="x", noise=depolarizing(2 * P)
    )
    dem = circuit.detector_error_model(decompose_errors=True)
    sampler = circuit.compile_detector_sampler(seed=seed)
    windowed = WindowedDecoder(inner=row.decoder, commit=row.distance, buffer=row.distance)
    decoders = [decoder.compile_decoder_for_dem(dem=dem) for decoder in (make_decoder(row.decoder), windowed)]
    shots, only = 0, np.zeros(3, dtype=np.int64)  # both wrong, only the whole one, only windows
    while only[:2].sum() < min_errors and shots < max_shots:
        detections, truth = sampler.sample(16_384, separate_observables=True, bit_packed=True)
        whole, parts = (
            (d.decode_shots_bit_packed(bit_packed_detection_event_data=detections) != truth).any(axis=1)
            for d in decoders
        )
        only += [(whole & parts).sum(), (whole & ~parts).sum(), (~whole & parts).sum()]
        shots += len(truth)
    errors = int(only[:2].sum())
    ratio = (only[0] + only[2]) / max(errors, 1)
    spread = 1.645 * np.sqrt(only[1] + only[2]) / max(errors, 1)  # of the difference of paired counts
    return {
        "shots": shots,
        "whole": errors,
        "windows": int(only[0] + only[2]),
        "ratio": round(float(ratio), 4),
        "upper_bound": round(float(ratio + spread), 4),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--rounds", type=int, default=1_000_000)
    parser.add_argument("--block", type=int, default=1)
    parser.add_argument("--ler", action="store_true", help="accuracy in place of time")
    parser.add_argument("--min-errors", type=int, default=500)
    parser.add_argument("--max-shots", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=1)
    flags = parser.parse_args()
    for name in flags.rows:
        row = ROWS[name]
        if flags.ler:
            if row.predecoder is not None:
                continue
            found = compare_windows(
                row, min_errors=flags.min_errors, max_shots=flags.max_shots, seed=flags.seed
            )
        else:
            found = time_rounds(row, rounds=flags.rounds, block=flags.block, seed=flags.seed)
        print(json.dumps({"row": name, **found}), flush=True)


if __name__ == "__main__":
    main()
