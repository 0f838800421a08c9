"""Paired comparison: decoders on the same shots, counted by who is wrong alone."""

from sims.paired.decode_file import DecodeCounts, decode_file

__all__ = ["DecodeCounts", "decode_file"]
