"""The noise features of a DEM as a network takes them."""

from __future__ import annotations

import numpy as np

from predecoder.blocking import block
from qec import DecodingProblem

__all__ = ["blocked_rates"]


def blocked_rates(problem: DecodingProblem) -> np.ndarray:
    """`DecodingProblem.noise_features` as a network takes them, channels last: float32 `(1, t, i, j, 64)`."""
    return block(problem.noise_features[None])
