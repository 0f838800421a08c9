"""What a detector error model says of itself: what decoders stumble over, and its distance."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import stim

from qec import NormalForm, normal_form
from sims.doctor.finding import Finding

__all__ = ["examine_model"]

_SECTION = "model"
_SHOWN = 5


def examine_model(dem: stim.DetectorErrorModel) -> Iterator[Finding]:
    """Sizes, errors that cannot be decoded, detectors that never fire, and the distance."""
    normal = normal_form(dem)
    tables = normal.tables
    yield Finding(
        _SECTION,
        "size",
        f"{dem.num_detectors:,} detectors, {dem.num_observables} observables, "
        f"{tables.num_mechanisms:,} mechanisms",
    )
    if normal.has_certain_flips:
        fired = int(np.unpackbits(normal.detector_flips).sum())
        yield Finding(
            _SECTION, "always", f"errors of probability 1 flip {fired} detectors in every shot", "note"
        )
    yield from _undetectable(normal)
    yield from _undecomposed(normal)
    never = np.flatnonzero(np.diff(tables.detectors.tocsr().indptr) == 0)
    if len(never):
        yield Finding(
            _SECTION,
            "never fire",
            f"{len(never):,} detectors that no mechanism flips ({listed(never)}): in their place there is no "
            "noise",
            "note",
        )
    unflipped = np.flatnonzero(np.diff(tables.observables.tocsr().indptr) == 0)
    for observable in unflipped:
        yield Finding(
            _SECTION,
            f"L{observable}",
            "no mechanism flips it: every decoder predicts 0; check OBSERVABLE_INCLUDE",
            "problem",
        )
    if len(unflipped) < dem.num_observables:
        yield from _distance(dem)


def listed(numbers: np.ndarray, prefix: str = "D") -> str:
    """The first few, such as 'D1 D4 D9 ...'."""
    more = " ..." if len(numbers) > _SHOWN else ""
    return " ".join(f"{prefix}{k}" for k in numbers[:_SHOWN]) + more


def _undetectable(normal: NormalForm) -> Iterator[Finding]:
    """Mechanisms that flip observables and no detector: nothing can be done about them."""
    tables = normal.tables
    silent = np.diff(tables.detectors.indptr) == 0
    logical = silent & (np.diff(tables.observables.indptr) > 0)
    if logical.any():
        p = (1 - np.prod(1 - 2 * tables.probabilities[logical])) / 2
        yield Finding(
            _SECTION,
            "undetectable",
            f"{int(logical.sum())} mechanisms flip an observable and no detector: the logical error rate is "
            f"{p:.3g} at least; detectors are missing, or the observable is not one that they protect",
            "problem",
        )


def _undecomposed(normal: NormalForm) -> Iterator[Finding]:
    sizes = np.diff(normal.tables.component_detectors.indptr)
    if (sizes > 2).any():
        yield Finding(
            _SECTION,
            "hyperedges",
            f"{int((sizes > 2).sum()):,} components of more than two detectors: matching cannot use this DEM "
            "(tesseract, mwpf and bp-osd can); build it with decompose_errors=True",
            "note",
        )


def _distance(dem: stim.DetectorErrorModel) -> Iterator[Finding]:
    try:
        shortest = dem.shortest_graphlike_error(ignore_ungraphlike_errors=True)
    except ValueError:
        yield Finding(_SECTION, "distance", "no errors of one or two detectors make a logical error", "note")
        return
    weight = len(shortest)
    level = "problem" if weight <= 2 else "ok"
    text = f"{weight}: so many errors of one or two detectors make a logical error"
    if level == "problem":
        text += (
            "; no decoder corrects what is half of that. If the patch is larger, its schedule has hook "
            "errors along the observable, or the observable is not that of this basis"
        )
    yield Finding(_SECTION, "distance", text, level)
