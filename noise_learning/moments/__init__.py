"""Parities of sets of detectors, counted over shots that stream by."""

from noise_learning.moments.block_log import BlockLog
from noise_learning.moments.moments import Moments
from noise_learning.moments.subsets import Subsets

__all__ = [
    "BlockLog",
    "Moments",
    "Subsets",
]
