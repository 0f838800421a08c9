"""Checks of flag values that several verbs share."""

from __future__ import annotations

from collections.abc import Collection


def positive(flag: str, value: int) -> int:
    """`value` if it is at least 1, else a ValueError that names the flag."""
    if value < 1:
        raise ValueError(f"{flag} is {value}; it must be at least 1")
    return value


def at_least_one(flag: str, values: Collection[str]) -> Collection[str]:
    """`values` if there are any, else a ValueError that names the flag."""
    if not values:
        raise ValueError(f"{flag} has no value; give at least one")
    return values
