"""Whether a network can be used on a DEM; where it cannot, shots are decoded without it, and that is said."""

from __future__ import annotations

import sys
import warnings
from typing import Literal

import numpy as np

from qec import DecodingProblem, DetectorLayout, LayoutError, NormalForm

__all__ = [
    "LayoutMismatchWarning",
    "OnMismatch",
    "ShortExperimentWarning",
    "applicable_problem",
    "check_fits",
    "noisy_rounds",
    "short_experiment",
    "warn_caller",
]

_OURS = ("decoder_service", "global_decoders", "predecoder", "qec", "sims")
"""Packages whose frames lie between a caller and a warning."""

OnMismatch = Literal["warn", "fail"]


class LayoutMismatchWarning(UserWarning):
    """A DEM that is no rotated-surface-code memory experiment is decoded without the network."""


class ShortExperimentWarning(UserWarning):
    """An experiment that is shorter than the network was trained for is decoded without it."""


def applicable_problem(
    normal: NormalForm, *, min_rounds: int, even_sides: bool, without_reset: bool, on_mismatch: OnMismatch
) -> DecodingProblem | None:
    """The decoding problem of a DEM that the network can be used on; None, with a warning, of others.

    Args:
        normal: of a decomposed DEM.
        min_rounds: of the shortest experiment that the network is used for.
        even_sides: whether it is used on patches with an even side.
        without_reset: whether it is used on circuits without mid-circuit reset.
        on_mismatch: for a DEM that is not a rotated-surface-code memory experiment, or one that the
            network is not used on: 'warn', or 'fail'.

    Raises:
        LayoutError: the DEM does not fit and `on_mismatch` is 'fail'.
    """
    try:
        problem = DecodingProblem.from_normal_form(normal)
        check_fits(problem, even_sides=even_sides, without_reset=without_reset)
    except LayoutError as error:
        if on_mismatch == "fail":
            raise
        warn_caller(f"decoding without the network: {error}", LayoutMismatchWarning)
        return None
    rounds = noisy_rounds(problem.layout)
    if rounds >= min_rounds:
        return problem
    warn_caller(short_experiment(rounds, min_rounds), ShortExperimentWarning)
    return None


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn with the place of the call into this project, however deep inside of it this is called."""
    level = 1
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _OURS:
        frame = frame.f_back
        level += 1
    warnings.warn(message, category, stacklevel=level)


def check_fits(problem: DecodingProblem, *, even_sides: bool, without_reset: bool) -> None:
    """Refuse patches with an even side, and circuits without reset, for a network that is not used on those.

    Raises:
        LayoutError: naming the sides, or what to use instead.
    """
    if problem.lacks_reset and not without_reset:
        raise LayoutError(
            "detectors compare rounds t and t - 2 (ancillas are not reset), and these weights, trained with "
            "reset, make matching worse there; train or fine-tune some on such a circuit, or use a decoder "
            "without a network, such as pymatching-correlated"
        )
    sides = (problem.layout.rows - 1, problem.layout.columns - 1)
    if not even_sides and any(side % 2 == 0 for side in sides):
        raise LayoutError(
            f"the patch has {sides[0]} x {sides[1]} data qubits, and these weights make matching worse where "
            "a side is even; other weights are good there (accurate, fast)"
        )


def noisy_rounds(layout: DetectorLayout) -> int:
    """Rounds of syndrome extraction with noise: layers in which a detector may fire, but for the last one."""
    return max(0, len(np.unique(layout.voxels[~layout.deterministic, 0])) - 1)


def short_experiment(rounds: int, min_rounds: int) -> str:
    """The warning's text."""
    return f"decoding without the network: it helps from {min_rounds} noisy rounds on, and here are {rounds}"
