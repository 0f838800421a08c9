"""Paired comparison: decoders on the same shots, counted by who is wrong alone."""

from sims.paired.decode_file import DecodeCounts, decode_file
from sims.paired.gap_file import check_gap_file, gap_file

__all__ = ["DecodeCounts", "check_gap_file", "decode_file", "gap_file"]
