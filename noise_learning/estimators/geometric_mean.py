"""The mean of two opinions of a probability, as logarithms."""

from __future__ import annotations

import numpy as np

__all__ = ["geometric_mean"]


def geometric_mean(learned: np.ndarray, prior: np.ndarray, *, share: float) -> np.ndarray:
    """learned^(1 - share) * prior^share, elementwise; never outside of the two.

    Where one is 0, which is "not seen" more often than "impossible", it is the arithmetic mean of that share.

    Args:
        learned, prior: float64, of one shape, at least 0.
        share: of the prior, from 0 to 1.

    Raises:
        ValueError: a share outside of that.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a prior's share of {share!r} is not from 0 (what was learned) to 1 (the prior)")
    mean = np.where(
        (learned > 0) & (prior > 0),
        learned ** (1 - share) * prior**share,
        (1 - share) * learned + share * prior,
    )
    return np.clip(mean, np.minimum(learned, prior), np.maximum(learned, prior))  # but for rounding
