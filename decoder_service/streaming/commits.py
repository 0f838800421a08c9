"""What a stream gives back."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Commit", "Flag", "Result"]


class Flag(enum.IntFlag):
    """Conditions under which corrections were found."""

    NONE = 0
    DEGRADED = 1
    """A round that was decoded as erased contributed, now or earlier in this shot."""
    RELOADED = 2
    """Another model than the one the shot began with contributed."""


@dataclass(frozen=True)
class Commit:
    """Corrections that no later round changes.

    Attributes:
        shot: as given to `open`.
        upto_round: detector layers [0, upto_round) are committed.
        frame: flips of the observables by all that is committed so far in this shot: packed bits,
            ceil(num_observables / 8) bytes, LSB first.
        flags: see `Flag`.
        model: id of the model that decoded the last window in it.
        time_in, time_out: of the clock, in ns: when the round that allowed it arrived, and when it
            was decoded.
    """

    shot: int
    upto_round: int
    frame: bytes
    flags: Flag
    model: str
    time_in: int
    time_out: int


@dataclass(frozen=True)
class Result:
    """The end of a shot.

    Attributes:
        shot: as given to `open`.
        rounds: detector layers, the final one included.
        frame: predicted flips of the observables; packed bits, LSB first.
        readout: the observables as measured, corrected by `frame`, packed in the same way; None
            where the input is detectors.
        commits: of the windows that were decoded at the end; the last has upto_round == rounds.
        flags: see `Flag`.
        gap: nats between the two logical classes in the shot's last window, given what was committed before:
            of a shot of one window that of the whole shot. None where it was not asked for, or there is none.
    """

    shot: int
    rounds: int
    frame: bytes
    readout: bytes | None
    commits: tuple[Commit, ...]
    flags: Flag
    gap: float | None = None
