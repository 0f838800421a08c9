"""The Markdown tables of the noise-learning benchmark, from its counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DECODERS = ("pymatching", "pymatching-correlated")

# The bounds on mean + 2 standard errors: (part, variant, estimator, learning shots) -> per decoder.
_BOUNDS: dict[tuple[str, str, int], tuple[float | None, float | None]] = {
    ("shared", "shared parameters", 1_000): (1.03, None),
    ("shared", "shared parameters", 10_000): (1.02, 1.04),
    ("shared", "shared parameters", 100_000): (1.01, 1.015),
    ("closed", "closed form", 100_000): (1.01, 1.04),
    ("closed", "closed form", 1_000_000): (1.005, 1.015),
    ("far", "shared parameters", 100_000): (1.01, 1.02),
}


@dataclass(frozen=True)
class Row:
    """Counts of one fit and one decoder on one test set, paired with the reference's."""

    part: str
    variant: str
    seed: int
    estimator: str
    shots: int
    decoder: str
    test_shots: int
    errors: int
    errors_reference: int
    only_fit: int
    only_reference: int
    notes: str


@dataclass(frozen=True)
class Summary:
    """Learned / reference LER over seeds: mean, two standard errors, and pooled counts."""

    mean: float
    two_errors: float
    rows: tuple[Row, ...]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Summary:
        """The standard error is the larger of the scatter over seeds and that of the discordant counts.

        Where a seed has no reference error, the ratio is that of all seeds together; where none has, NaN.
        """
        fits, references = (
            [sum(getattr(row, name) for row in rows if row.seed == seed) for seed in {r.seed for r in rows}]
            for name in ("errors", "errors_reference")
        )
        errors = sum(references)
        if not errors:
            return cls(math.nan, math.nan, tuple(rows))
        counting = math.sqrt(sum(r.only_fit + r.only_reference for r in rows) + 1) / errors
        if not all(references):
            return cls(sum(fits) / errors, 2 * counting, tuple(rows))
        ratios = np.array(fits) / np.array(references)
        scatter = float(np.std(ratios, ddof=1)) / math.sqrt(len(ratios)) if len(ratios) > 1 else 0.0
        return cls(float(np.mean(ratios)), 2 * max(scatter, counting), tuple(rows))

    @property
    def upper(self) -> float:
        return self.mean + self.two_errors

    def total(self, name: str) -> int:
        return sum(getattr(row, name) for row in self.rows)


def tables(rows: Sequence[Row]) -> list[str]:
    """The tables of simulated noise and of the device, those that have a row."""
    simulated = [row for row in rows if row.part != "device"]
    device = [row for row in rows if row.part == "device"]
    return ["\n".join(table(some)) for table, some in ((_simulated, simulated), (_device, device)) if some]


def _groups(rows: Sequence[Row]) -> dict[tuple[str, str, str, int, str], list[Row]]:
    found: dict[tuple[str, str, str, int, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row.part, row.variant, row.estimator, row.shots, row.decoder), []).append(row)
    return found


def _simulated(rows: Sequence[Row]) -> list[str]:
    lines = [
        "| part | noise | estimator | shots to learn | decoder | seeds | test shots | LER true "
        "| ratio, mean | 2 SE | mean + 2 SE | only learned wrong | only true wrong | requirement | |",
        "|" + "---|" * 15,
    ]
    groups = {key: Summary.of(found) for key, found in _groups(rows).items()}
    for (part, variant, estimator, shots, decoder), s in groups.items():
        bound = _bound(groups, part, variant, estimator, shots, decoder)
        verdict = "" if bound is None else ("met" if s.upper <= bound else "**not met**")
        if bound is not None and math.isnan(s.upper):
            verdict = "no errors"
        ler = s.total("errors_reference") / s.total("test_shots")
        lines.append(
            f"| {part} | {variant} | {estimator} | {shots or '-'} | {decoder} "
            f"| {len({r.seed for r in s.rows})} | {s.total('test_shots')} | {ler:.4f} | {s.mean:.4f} "
            f"| {s.two_errors:.4f} | {s.upper:.4f} | {s.total('only_fit')} | {s.total('only_reference')} "
            f"| {'' if bound is None else f'{bound:.4f}'} | {verdict} |"
        )
    return lines


def _bound(
    groups: dict[tuple[str, str, str, int, str], Summary],
    part: str,
    variant: str,
    estimator: str,
    shots: int,
    decoder: str,
) -> float | None:
    if part == "location" and estimator == "model selection":  # the better of the other two, + 0.01
        others = [
            groups.get((part, variant, name, shots, decoder)) for name in ("shared parameters", "closed form")
        ]
        return min(other.mean for other in others if other) + 0.01 if all(others) else None
    bounds = _BOUNDS.get((part, estimator, shots))
    return None if bounds is None else bounds[DECODERS.index(decoder)]


def _device(rows: Sequence[Row]) -> list[str]:
    lines = [
        "| data | DEM | decoder | shots decoded | errors | LER | errors with Google's p_ij | LER "
        "| only this wrong | only p_ij wrong |",
        "|" + "---|" * 10,
    ]
    for (_, variant, estimator, _, decoder), found in _groups(rows).items():
        s = Summary.of(found)
        shots, errors, reference = (s.total(n) for n in ("test_shots", "errors", "errors_reference"))
        lines.append(
            f"| {variant.split()[0]} | {estimator} | {decoder} | {shots} | {errors} | {errors / shots:.4f} "
            f"| {reference} | {reference / shots:.4f} | {s.total('only_fit')} | {s.total('only_reference')} |"
        )
    return lines
