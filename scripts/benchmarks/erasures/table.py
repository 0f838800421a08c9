"""What lost rounds cost: the same shots through a StreamDecoder with and without erased rounds.

    python -m scripts.benchmarks.erasures.table --out FILE            # measure; run again to go on
    python -m scripts.benchmarks.erasures.table --out FILE --report   # into docs/results/windows.md

Raw measurements are streamed, commit = buffer = distance. Every round but the last is lost with
probability `--erased`; a pattern of lost rounds serves `--per-pattern` shots, so that graphs of rare
combinations are not built for one shot each. A chunk of shots is appended to the file as one JSON
line; a cell ends when it has `--min-errors` errors without losses.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import sinter

from decoder_service import StreamDecoder
from qec import depolarizing, memory_circuit
from scripts.benchmarks.results import markdown_table, write_table
from scripts.benchmarks.windows.table import ratio_and_error

_CHUNK = 1000
_CELL = ("distance", "p", "rounds", "decoder", "erased")
_COUNTS = ("shots", "errors", "errors_erased", "only_erased_wrong", "only_whole_wrong", "lost")


def measure(cell: dict[str, Any], *, chunk: int, options: argparse.Namespace) -> dict[str, int]:
    """Counts of one chunk of shots."""
    distance, rounds = cell["distance"], cell["rounds"]
    circuit = memory_circuit(
        distance=distance, rounds=rounds, basis=options.basis, noise=depolarizing(cell["p"])
    )
    measurements = circuit.compile_sampler(seed=options.seed + chunk).sample(_CHUNK)
    _, truth = circuit.compile_m2d_converter().convert(measurements=measurements, separate_observables=True)
    stream = StreamDecoder(circuit, commit=distance, buffer=distance, decoder=cell["decoder"])
    random = np.random.default_rng(options.seed + chunk)
    wrong = np.zeros((2, _CHUNK), dtype=bool)
    lost = 0
    pattern = np.zeros(rounds, dtype=bool)
    for shot, bits in enumerate(measurements):
        if shot % options.per_pattern == 0:
            pattern = random.random(rounds) < cell["erased"]
        lost += int(pattern.sum())
        for k, erased in enumerate((np.zeros_like(pattern), pattern)):
            frame = _decoded(stream, bits, erased)
            wrong[k, shot] = (frame != truth[shot]).any()
    return {
        "shots": _CHUNK,
        "errors": int(wrong[0].sum()),
        "errors_erased": int(wrong[1].sum()),
        "only_erased_wrong": int((wrong[1] & ~wrong[0]).sum()),
        "only_whole_wrong": int((wrong[0] & ~wrong[1]).sum()),
        "lost": lost,
    }


def _decoded(stream: StreamDecoder, bits: np.ndarray, erased: np.ndarray) -> np.ndarray:
    """uint8 0/1 (observables,): the flips that a shot's stream predicts."""
    stream.open(0)
    start = 0
    for round, lost in enumerate(erased.tolist()):
        stop = start + stream.width(round)
        stream.push(round, None if lost else bits[start:stop], erased=lost)
        start = stop
    return np.unpackbits(np.frombuffer(stream.finish(bits[start:]).frame, np.uint8), bitorder="little")[:1]


def report(lines: list[dict[str, Any]]) -> str:
    """The table as Markdown; intervals are 95 %, from the discordant shots."""
    cells: dict[tuple[Any, ...], Counter[str]] = {}
    for line in lines:
        cells.setdefault(tuple(line[k] for k in _CELL), Counter()).update({k: line[k] for k in _COUNTS})
    columns = (
        *("decoder", "d", "p", "rounds", "erased", "shots", "errors without", "with"),
        *("only with", "only without", "ratio (95 %)", "ratio per round"),
    )
    rows = []
    for (distance, p, rounds, decoder, _), n in sorted(cells.items()):
        more, less = n["only_erased_wrong"], n["only_whole_wrong"]
        ratio, error = ratio_and_error(errors=n["errors"], more=more, fewer=less)
        half = 1.96 * error
        erased, whole = (
            sinter.shot_error_rate_to_piece_error_rate(n[k] / n["shots"], pieces=rounds)
            for k in ("errors_erased", "errors")
        )
        rows.append(
            (
                *(decoder, distance, f"{p:g}", rounds, f"{n['lost'] / n['shots'] / rounds:.2%}"),
                *(n["shots"], n["errors"], n["errors_erased"], more, less),
                *(f"{ratio:.3f} [{ratio - half:.3f}, {ratio + half:.3f}]", f"{erased / whole:.3f}"),
            )
        )
    return markdown_table(columns, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--report", type=Path, nargs="?", const=Path("docs/results/windows.md"))
    parser.add_argument("--distance", type=int, nargs="+", default=[3, 5, 7])
    parser.add_argument("--p", type=float, nargs="+", default=[0.004])
    parser.add_argument("--decoder", nargs="+", default=["pymatching"])
    parser.add_argument("--rounds-per-distance", type=int, default=5)
    parser.add_argument("--erased", type=float, default=0.05)
    parser.add_argument("--basis", default="x")
    parser.add_argument("--per-pattern", type=int, default=20)
    parser.add_argument("--min-errors", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=5260)
    options = parser.parse_args()

    lines = [json.loads(t) for t in options.out.read_text().splitlines()] if options.out.exists() else []
    if options.report is not None:
        write_table(options.report, report(lines))
        return
    for distance, p, decoder in itertools.product(options.distance, options.p, options.decoder):
        values = (distance, p, options.rounds_per_distance * distance, decoder, options.erased)
        cell: dict[str, Any] = dict(zip(_CELL, values, strict=True))
        mine = [line for line in lines if all(line[k] == cell[k] for k in _CELL)]
        while sum(line["errors"] for line in mine) < options.min_errors:
            mine.append(cell | measure(cell, chunk=len(mine), options=options))
            with options.out.open("a") as file:
                file.write(json.dumps(mine[-1]) + "\n")
        print(report(mine).splitlines()[2], flush=True)


if __name__ == "__main__":
    main()
