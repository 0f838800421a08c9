"""What windows cost in accuracy and time: windowed against whole-history decoding of the same shots.

    python -m scripts.benchmarks.windows.table --out FILE            # measure; run again to go on
    python -m scripts.benchmarks.windows.table --out FILE --report   # into docs/results/windows.md

A cell is one distance, error rate and inner decoder. Its shots are decoded by the whole-history
decoder and by every windowed one (commit = distance; buffer = distance, and twice that where the
inner decoder is uncorrelated), one batch after the other, interleaved. A cell ends at
`--min-errors` errors of the whole-history decoder and `--min-shots` shots, and is then appended to
the file as one JSON line; a cell that is in the file is not measured again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import sinter

from global_decoders import make_decoder
from global_decoders.windows import WindowedDecoder
from qec import depolarizing, memory_circuit
from scripts.benchmarks.results import markdown_table, write_table

_BATCH = 16_384
_Z95 = 1.6448536269514722  # one-sided


def measure(*, distance: int, p: float, inner: str, options: argparse.Namespace) -> dict[str, Any]:
    """Counts and times of one cell."""
    rounds = options.rounds_per_distance * distance
    circuit = memory_circuit(distance=distance, rounds=rounds, basis=options.basis, noise=depolarizing(p))
    dem = circuit.detector_error_model(decompose_errors=True)
    sampler = circuit.compile_detector_sampler(seed=options.seed)
    whole = make_decoder(inner).compile_decoder_for_dem(dem=dem)
    buffers = [distance] if inner.endswith("correlated") else [distance, 2 * distance]
    setups = list(itertools.product(("sliding", "parallel"), buffers))
    windowed = [
        WindowedDecoder(inner=inner, commit=distance, buffer=b, mode=mode).compile_decoder_for_dem(dem=dem)
        for mode, b in setups
    ]
    counts = np.zeros((len(setups), 2), dtype=np.int64)  # only the windows wrong, only the whole wrong
    seconds: list[list[float]] = []
    shots = errors = 0
    while (errors < options.min_errors or shots < options.min_shots) and shots < options.max_shots:
        detections, truth = sampler.sample(_BATCH, separate_observables=True, bit_packed=True)
        answers, times = zip(*(_timed(decoder, detections) for decoder in [whole, *windowed]), strict=True)
        wrong = np.array([(answer != truth).any(axis=1) for answer in answers])
        counts[:, 0] += (wrong[1:] & ~wrong[0]).sum(axis=1)
        counts[:, 1] += (~wrong[1:] & wrong[0]).sum(axis=1)
        shots, errors = shots + _BATCH, errors + int(wrong[0].sum())
        seconds.append(list(times))
    per_round = np.median(np.array(seconds), axis=0) / (_BATCH * rounds) * 1e6
    slower = np.median(np.array(seconds)[:, 1:] / np.array(seconds)[:, :1], axis=0)
    return {
        "distance": distance,
        "p": p,
        "inner": inner,
        "basis": options.basis,
        "rounds": rounds,
        "seed": options.seed,
        "shots": shots,
        "errors": errors,
        "us_per_round": float(per_round[0]),
        "windows": [
            {
                "mode": mode,
                "commit": distance,
                "buffer": b,
                "only_windows_wrong": int(counts[k, 0]),
                "only_whole_wrong": int(counts[k, 1]),
                "us_per_round": float(per_round[k + 1]),
                "times_slower": float(slower[k]),
            }
            for k, (mode, b) in enumerate(setups)
        ],
    }


def ratio_and_error(*, errors: int, more: int, fewer: int) -> tuple[float, float]:
    """A ratio of error rates near 1 and its standard error; NaN without errors.

    Shots that both get wrong cancel, so the difference of the two counts is that of the discordant
    ones, with variance `more + fewer`; one is added for where none was seen.

    Args:
        errors: of the decoder that the other one is compared with.
        more, fewer: shots that only the other one gets wrong, and those that only it gets right.
    """
    if not errors:
        return math.nan, math.nan
    return 1 + (more - fewer) / errors, math.sqrt(more + fewer + 1) / errors


def ratio_and_bound(*, errors: int, only_windows: int, only_whole: int) -> tuple[float, float]:
    """LER ratio windows / whole, and its one-sided upper 95 % bound; NaN without errors."""
    ratio, error = ratio_and_error(errors=errors, more=only_windows, fewer=only_whole)
    return ratio, ratio + _Z95 * error


def report(cells: list[dict[str, Any]]) -> str:
    """The table as Markdown."""
    columns = (
        *("inner", "d", "p", "rounds", "mode", "b", "shots"),
        *("whole errors", "only windows wrong", "only whole wrong", "ratio", "upper 95 %"),
        *("discordant per 10^4", "µs/round whole", "windows", "times"),
    )
    lines = []
    for cell in sorted(cells, key=lambda c: (c["inner"], c["distance"], c["p"])):
        for row in cell["windows"]:
            more, less = row["only_windows_wrong"], row["only_whole_wrong"]
            ratio, bound = ratio_and_bound(errors=cell["errors"], only_windows=more, only_whole=less)
            lines.append(
                (
                    *(cell["inner"], cell["distance"], f"{cell['p']:g}", cell["rounds"]),
                    *(row["mode"], row["buffer"], cell["shots"], cell["errors"], more, less),
                    *(f"{ratio:.4f}", f"{bound:.4f}", f"{(more + less) / cell['shots'] * 1e4:.2f}"),
                    *(f"{one['us_per_round']:.3f}" for one in (cell, row)),
                    f"{row['times_slower']:.2f}",
                )
            )
    return markdown_table(columns, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--report", type=Path, nargs="?", const=Path("docs/results/windows.md"))
    parser.add_argument("--distance", type=int, nargs="+", default=[3, 5, 7])
    parser.add_argument("--p", type=float, nargs="+", default=[0.002, 0.003, 0.004, 0.005])
    parser.add_argument("--inner", nargs="+", default=["pymatching", "pymatching-correlated"])
    parser.add_argument("--basis", default="x")
    parser.add_argument("--rounds-per-distance", type=int, default=20)
    parser.add_argument("--min-errors", type=int, default=500)
    parser.add_argument("--min-shots", type=int, default=20_000)
    parser.add_argument("--max-shots", type=int, default=2_000_000)
    parser.add_argument("--seed", type=int, default=20260)
    options = parser.parse_args()

    lines = options.out.read_text().splitlines() if options.out.exists() else []
    cells = [json.loads(line) for line in lines]
    if options.report is not None:
        write_table(options.report, report(cells))
        return
    done = {(c["distance"], c["p"], c["inner"]) for c in cells}
    for inner, distance, p in itertools.product(options.inner, options.distance, options.p):
        if (distance, p, inner) in done:
            continue
        cell = measure(distance=distance, p=p, inner=inner, options=options)
        with options.out.open("a") as file:
            file.write(json.dumps(cell) + "\n")
        print(report([cell]).splitlines()[2:], flush=True)


def _timed(decoder: sinter.CompiledDecoder, detections: np.ndarray) -> tuple[np.ndarray, float]:
    start = time.perf_counter()
    answer = decoder.decode_shots_bit_packed(bit_packed_detection_event_data=detections)
    return answer, time.perf_counter() - start


if __name__ == "__main__":
    main()
