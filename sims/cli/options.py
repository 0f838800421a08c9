"""Checks of flag values that several verbs share."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path

PROCESSES_PER_CORE = 4
"""More processes or threads than this for a core only compete for it, and then run out of something."""
_ALWAYS_ALLOWED = 16


def positive(flag: str, value: int) -> int:
    """`value` if it is at least 1, else a ValueError that names the flag."""
    if value < 1:
        raise ValueError(f"{flag} is {value}; it must be at least 1")
    return value


def at_most_cores(flag: str, value: int) -> int:
    """`value` if it is a number of processes or threads that this machine can use."""
    from sims.sweeps import usable_cores

    cores = len(usable_cores())
    most = max(_ALWAYS_ALLOWED, PROCESSES_PER_CORE * cores)
    if positive(flag, value) > most:
        raise ValueError(f"{flag} is {value}; {cores} cores are usable here, give at most {most}")
    return value


def not_negative(flag: str, value: float) -> float:
    """`value` if it is a finite number of at least 0, else a ValueError that names the flag."""
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{flag} is {value:g}; it must be 0 or more")
    return value


def above_zero(flag: str, value: float) -> float:
    """`value` if it is a finite number above 0, else a ValueError that names the flag."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{flag} is {value:g}; it must be above 0")
    return value


def seed(flag: str, value: int) -> int:
    """`value` if Stim takes it as a seed: an integer from 0 to 2^64 - 1."""
    if not 0 <= value < 2**64:
        raise ValueError(f"{flag} is {value}; a seed is an integer from 0 to 2^64 - 1")
    return value


def at_least_one(flag: str, values: Collection[str]) -> Collection[str]:
    """`values` if there are any, else a ValueError that names the flag."""
    if not values:
        raise ValueError(f"{flag} has no value; give at least one")
    return values


def weights_file(weights: str) -> Path | None:
    """The file that --weights names, if it names one and not weights that ship with qecpipe."""
    path = Path(weights)
    return path if path.exists() else None
