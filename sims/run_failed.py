"""The error of a run that broke, through nothing that the user gave."""

from __future__ import annotations


class RunFailedError(RuntimeError):
    """A run ended early; the message says what is left of it. The command line shows it in one line."""
