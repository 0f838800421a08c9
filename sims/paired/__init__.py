"""Paired comparison: decoders on the same shots, counted by who is wrong alone."""

from sims.paired.compare import Comparison, Pair, Predict, compare, predict_with
from sims.paired.decode_file import DecodeCounts, decode_file
from sims.paired.gap_file import check_gap_file, gap_file

__all__ = [
    "Comparison",
    "DecodeCounts",
    "Pair",
    "Predict",
    "check_gap_file",
    "compare",
    "decode_file",
    "gap_file",
    "predict_with",
]
