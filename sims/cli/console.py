"""The console of every verb."""

from __future__ import annotations

from rich.console import Console

FILE_WIDTH = 180
"""Columns of a table that goes to a file or a pipe, where rich would assume 80."""


def make_console() -> Console:
    """A console on stdout, as wide as the terminal, or wide enough for our tables where there is none."""
    # Brackets are ours, as in qecpipe[service], and no styles.
    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, width=FILE_WIDTH)
