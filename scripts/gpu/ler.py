"""Logical errors of `neural-matching` in every precision of a device against float32, on the same shots.

Cells take turns in chunks until the time is over, so that all have shots. The interval is of the ratio of
logical error rates, from the discordant shots alone.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field

import numpy as np

from predecoder import NeuralMatchingDecoder, load_bundle
from predecoder.inference import PRECISIONS
from qec import normal_form, ratio_of_errors
from scripts.gpu.kit import Deadline, Report, about, flags, memory

__all__ = ["main"]

CELLS = ((9, 0.006), (5, 0.006), (13, 0.006), (5, 0.003))
SMALL_CELLS = ((5, 0.01),)  # at d = 3 a perfect last round leaves fewer rounds than weights are used for
_CHUNK = {5: 65_536, 9: 32_768, 13: 16_384}
_SEED = 20_261_129


@dataclass
class Cell:
    """A patch and error rate with its decoders by precision, and what was counted."""

    distance: int
    p: float
    decoders: dict[str, object]
    circuit: object
    chunk: int
    shots: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    only_it: dict[str, int] = field(default_factory=dict)
    only_float32: dict[str, int] = field(default_factory=dict)
    turns: int = 0


def main() -> int:
    """Count until the time is over; returns 0."""
    parser = flags(__doc__ or "", seconds=90)
    parser.add_argument("--weights", nargs="*", default=["accurate"])
    given = parser.parse_args()
    deadline = Deadline(given.seconds)
    report = Report(given.out / "ler.json", about=about(given.device))
    cells = [
        _cell(name, d, p, given, report)
        for name in given.weights
        for d, p in (SMALL_CELLS if given.small else CELLS)
    ]
    longest = 0.0
    while not cells[0].turns or deadline.left > 1.5 * longest:
        begun = time.monotonic()
        for cell in cells:
            _count(cell)
        longest = max(longest, time.monotonic() - begun)
        if given.small and cells[0].turns == 2:
            break
    for cell in cells:
        for precision in cell.decoders:
            report.add(d=cell.distance, p=cell.p, precision=precision, **_row(cell, precision))
    return 0


def _cell(weights: str, distance: int, p: float, given, report: Report) -> Cell:
    circuit, dem = memory(distance, p, perfect_last_round=True)
    normal, decoders = normal_form(dem), {}
    chunk = 256 if given.small else _CHUNK[distance]
    quantized = load_bundle(weights).network.int8 != "none"
    for precision in PRECISIONS:
        if precision == "int8" and not quantized:
            continue
        try:
            decoders[precision] = NeuralMatchingDecoder(
                weights=weights, device=given.device, precision=precision
            ).compile_normal_form(normal)
        except ValueError as error:  # the device or the weights do not have it
            report.add(d=distance, p=p, precision=precision, left_out=str(error))
    return Cell(distance, p, decoders, circuit, chunk)


def _count(cell: Cell) -> None:
    """Another chunk of shots, through every decoder."""
    sampler = cell.circuit.compile_detector_sampler(seed=_SEED + 1000 * cell.distance + cell.turns)  # pyright: ignore
    packed, truth = sampler.sample(cell.chunk, separate_observables=True, bit_packed=True)
    wrong = {}
    for precision, decoder in cell.decoders.items():
        predicted = decoder.decode_shots_bit_packed(bit_packed_detection_event_data=packed)  # pyright: ignore
        wrong[precision] = (predicted != truth).any(axis=1)
    exact = wrong["float32"]
    for precision, of in wrong.items():
        for counted, shots in (
            (cell.errors, of),
            (cell.only_it, of & ~exact),
            (cell.only_float32, exact & ~of),
        ):
            counted[precision] = counted.get(precision, 0) + int(np.sum(shots))
    cell.shots += cell.chunk
    cell.turns += 1


def _row(cell: Cell, precision: str) -> dict[str, object]:
    exact, errors = cell.errors.get("float32", 0), cell.errors.get(precision, 0)
    row: dict[str, object] = {
        "shots": cell.shots,
        "errors_float32": exact,
        "errors": errors,
        "only_it": cell.only_it.get(precision, 0),
        "only_float32": cell.only_float32.get(precision, 0),
    }
    if not (exact and errors):
        return row | {"ratio": None}
    discordant = cell.only_it[precision] + cell.only_float32[precision]
    ratio = ratio_of_errors(errors, exact, variance=discordant)
    return row | {"ratio": ratio.best, "low": ratio.low, "high": ratio.high}


if __name__ == "__main__":
    sys.exit(main())
