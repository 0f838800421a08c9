"""The graphs of an experiment's windows: equal windows share one, those with erased rounds are bounded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from functools import cached_property

from global_decoders.windows.cut import WindowDem, WindowEdges, cut_key
from global_decoders.windows.layers import LayeredDem, Mechanism
from global_decoders.windows.matcher import INNER_DECODERS, WindowMatcher
from global_decoders.windows.plan import Window

__all__ = ["WindowGraphs"]

_MOST_EXTENDED = 256
"""Graphs with mechanisms besides the experiment's that are kept; a stream of erasures has no end of them."""


class _Cut:
    """A window of the experiment with what is made of it when it is first needed."""

    def __init__(self, layers: LayeredDem, window: Window) -> None:
        self.edges = WindowEdges.of(layers, window)

    @cached_property
    def window_dem(self) -> WindowDem:
        return self.edges.window_dem()


class WindowGraphs:
    """The matchers of an experiment's windows; windows with equal DEMs share one.

    Args:
        inner: a name in `INNER_DECODERS`.
    """

    def __init__(self, *, inner: str) -> None:
        if inner not in INNER_DECODERS:
            raise ValueError(
                f"inner={inner!r} cannot decode windows, which need to know the edges that were used; "
                f"choose one of {', '.join(INNER_DECODERS)}"
            )
        self.inner = inner
        self._cuts: dict[object, _Cut] = {}
        self._by_key: dict[object, WindowMatcher] = {}
        self._by_dem: dict[WindowDem, WindowMatcher] = {}
        self._extended: OrderedDict[object, WindowMatcher] = OrderedDict()

    def __len__(self) -> int:
        """Number of distinct graphs that are kept."""
        return len(self._by_dem) + len(self._extended)

    def window_dem(self, layers: LayeredDem, window: Window) -> WindowDem:
        """`cut(layers, window)`, made once for windows of equal key. Always with the same `layers.kinds`."""
        return self._cut(cut_key(layers, window), layers, window).window_dem

    def matcher(
        self, layers: LayeredDem, window: Window, *, more: Iterable[tuple[int, Mechanism]] = ()
    ) -> WindowMatcher:
        """The warm matcher of `cut(layers, window, more=more)`. Always with the same `layers.kinds`."""
        key = cut_key(layers, window)
        added = tuple((t - window.start, mechanism) for t, mechanism in more)
        if added:
            return self._extended_matcher((key, added), layers, window)
        if key not in self._by_key:
            window_dem = self._cut(key, layers, window).window_dem
            if window_dem not in self._by_dem:
                self._by_dem[window_dem] = WindowMatcher(window_dem, inner=self.inner)
            self._by_key[key] = self._by_dem[window_dem]
        return self._by_key[key]

    def _cut(self, key: object, layers: LayeredDem, window: Window) -> _Cut:
        if key not in self._cuts:
            self._cuts[key] = _Cut(layers, window)
        return self._cuts[key]

    def _extended_matcher(
        self, key: tuple[object, tuple[tuple[int, Mechanism], ...]], layers: LayeredDem, window: Window
    ) -> WindowMatcher:
        if key in self._extended:
            self._extended.move_to_end(key)
            return self._extended[key]
        base, added = key
        edges = self._cut(base, layers, window).edges
        window_dem = edges.plus([(t + window.start, m) for t, m in added], window).window_dem()
        matcher = self._extended[key] = WindowMatcher(window_dem, inner=self.inner)
        if len(self._extended) > _MOST_EXTENDED:
            self._extended.popitem(last=False)
        return matcher
