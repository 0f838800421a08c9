"""What shots that two decoders both decoded say about the ratio of their error rates."""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["Ratio", "ratio_of_errors"]


class Ratio(NamedTuple):
    """A ratio of error rates and its 95 % interval; all are NaN where a side has no errors."""

    best: float
    low: float
    high: float


def ratio_of_errors(above: float, below: float, *, variance: float) -> Ratio:
    """Errors of one decoder over those of another on the same shots.

    Shots that both get wrong cancel, so the spread is that of the discordant ones, by the delta method on the
    logarithm of the ratio.

    Args:
        above, below: errors of both, counted or estimated.
        variance: of the number of shots that only one of them gets wrong, both kinds together; where all
            shots are counted that is the number itself.
    """
    if not above * below:
        return Ratio(math.nan, math.nan, math.nan)
    ratio, factor = above / below, math.exp(1.96 * math.sqrt(variance / (above * below)))
    return Ratio(ratio, ratio / factor, ratio * factor)
