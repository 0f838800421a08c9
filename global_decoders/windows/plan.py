"""Which layers of a detector error model each window decodes, and which it commits."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

__all__ = [
    "Mode",
    "Window",
    "WindowSizes",
    "assert_committed_once",
    "check_sizes",
    "parallel_windows",
    "sliding_windows",
    "windows_of",
]

Mode = Literal["sliding", "parallel"]


@dataclass(frozen=True, kw_only=True)
class Window:
    """Layers [start, stop) are decoded, layers [lo, hi) committed; start <= lo < hi <= stop.

    Attributes:
        past_closed: components that touch a layer before `start` are committed already, and dropped;
            otherwise their detectors before `start` are deleted, which opens a boundary there.
        future_closed: the same for layers at or past `stop`.
        after_neighbours: a parallel window of the second pass: decoded after its two neighbours, with
            their artificial defects.
    """

    start: int
    lo: int
    hi: int
    stop: int
    past_closed: bool = True
    future_closed: bool = False
    after_neighbours: bool = False

    def drops(self, touched: Sequence[int]) -> bool:
        """Whether a component that touches these layers belongs to another window."""
        return (self.past_closed and min(touched) < self.start) or (
            self.future_closed and max(touched) >= self.stop
        )

    def commits(self, touched: Sequence[int]) -> bool:
        """Whether a component that touches these layers is committed by this window.

        One that reaches over the commit region, from a layer before it to one behind it, is; so is every
        component that touches it.
        """
        return min(touched) < self.hi and max(touched) >= self.lo and not self.drops(touched)


def check_sizes(*, commit: int, buffer: int, mode: str) -> None:
    """Raises ValueError for a window that commits nothing or an unknown mode."""
    if mode not in get_args(Mode):
        raise ValueError(f"mode={mode!r} is not a window mode; choose one of {', '.join(get_args(Mode))}")
    if commit < 1:
        raise ValueError(f"commit={commit} rounds: a window must commit at least 1")
    least = 1 if mode == "parallel" else 0
    if buffer < least:
        raise ValueError(f"buffer={buffer} rounds: {mode} windows need at least {least}")


def sliding_windows(num_layers: int, *, commit: int, buffer: int) -> Iterator[Window]:
    """Windows that commit `commit` layers with `buffer` of look-ahead; the last one commits all.

    A window is the last if it would reach the last layer, so that all others can be decoded
    before anyone knows how long the experiment is.
    """
    lo = 0
    while lo + commit + buffer < num_layers:
        yield Window(start=lo, lo=lo, hi=lo + commit, stop=lo + commit + buffer)
        lo += commit
    yield Window(start=lo, lo=lo, hi=num_layers, stop=num_layers)


def parallel_windows(num_layers: int, *, commit: int, buffer: int) -> Iterator[Window]:
    """Windows every `commit + 2 * buffer` layers, and those of `2 * buffer` layers between them.

    Those of the first pass (buffers on both sides, both sides open) do not depend on each other; those of
    the second (`after_neighbours`) are closed on both sides by what their neighbours committed (layers A
    and B of Skoric et al., arXiv:2209.08552). In the order in which a stream can decode them; the last
    window of the second pass commits all that is left.
    """
    period = commit + 2 * buffer
    lo = committed = 0
    while lo + commit + buffer < num_layers:
        yield Window(
            start=max(0, lo - buffer), lo=lo, hi=lo + commit, stop=lo + commit + buffer, past_closed=False
        )
        if lo:
            yield Window(
                start=committed, lo=committed, hi=lo, stop=lo, future_closed=True, after_neighbours=True
            )
        committed = lo + commit
        lo += period
    yield Window(start=committed, lo=committed, hi=num_layers, stop=num_layers, after_neighbours=True)


def windows_of(num_layers: int, *, commit: int, buffer: int, mode: Mode) -> Iterator[Window]:
    """The windows of an experiment of `num_layers` detector layers, lazily, in decoding order."""
    check_sizes(commit=commit, buffer=buffer, mode=mode)
    plan = sliding_windows if mode == "sliding" else parallel_windows
    return plan(num_layers, commit=commit, buffer=buffer)


@dataclass(frozen=True)
class WindowSizes:
    """How windows are arranged.

    Args:
        commit: detector layers (rounds) that a window commits.
        buffer: layers of look-ahead; in parallel mode also of look-back, at least 1.
        mode: 'sliding', each window after the one before it; or 'parallel', independent windows
            every `commit + 2 * buffer` layers and then those between them.

    Raises:
        ValueError: a window that commits nothing, or an unknown mode.
    """

    commit: int
    buffer: int
    mode: Mode

    def __post_init__(self) -> None:
        check_sizes(commit=self.commit, buffer=self.buffer, mode=self.mode)

    @property
    def period(self) -> int:
        """Layers after which the arrangement repeats."""
        return self.commit + (2 * self.buffer if self.mode == "parallel" else 0)

    def windows(self, num_layers: int) -> Iterator[Window]:
        """The windows of an experiment of `num_layers` detector layers, lazily, in decoding order."""
        return windows_of(num_layers, commit=self.commit, buffer=self.buffer, mode=self.mode)


def assert_committed_once(footprints: Iterable[tuple[int, ...]], windows: Iterable[Window]) -> None:
    """Checks that every component is committed by exactly one window.

    Args:
        footprints: of each component the layers it touches, ascending.
        windows: of the whole experiment.

    Raises:
        ValueError: naming the component's layers and the windows that commit it, none or several.
    """
    ordered = sorted(windows, key=lambda window: window.lo)
    for previous, window in itertools.pairwise(ordered):
        if previous.hi != window.lo:
            raise ValueError(f"commit regions do not tile: [.., {previous.hi}) then [{window.lo}, ..)")
    starts = [window.lo for window in ordered]
    for touched in footprints:
        first, last = (bisect.bisect_right(starts, end(touched)) - 1 for end in (min, max))
        committing = [(one.lo, one.hi) for one in ordered[max(first, 0) : last + 1] if one.commits(touched)]
        if len(committing) != 1:
            raise ValueError(
                f"a component that touches layers {touched} is committed by {len(committing)} windows "
                f"{committing}; "
                "the rounds it spans must fit into a commit region, so raise commit= or buffer="
            )
