"""Checks of flag values that several verbs share."""

from __future__ import annotations


def positive(flag: str, value: int) -> int:
    """`value` if it is at least 1, else a ValueError that names the flag."""
    if value < 1:
        raise ValueError(f"{flag} is {value}; it must be at least 1")
    return value
