"""Shots from files: where they come from (`source`) and which of them count (`selection`)."""

from sims.shot_files.selection import ShotSelection, count_blocks
from sims.shot_files.source import Chunk, ShotSource

__all__ = ["Chunk", "ShotSelection", "ShotSource", "count_blocks"]
