"""The graphs of an experiment's windows: equal windows share one, those with erased rounds are bounded."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping

from global_decoders.windows.cut import CutKey, WindowDem, WindowPlaces, cut, cut_key, seen_in
from global_decoders.windows.graph import INNER_DECODERS
from global_decoders.windows.layers import Component, LayeredDem
from global_decoders.windows.matcher import WindowMatcher
from global_decoders.windows.plan import Window

__all__ = ["MOST_ERASED_BYTES", "WindowGraphs"]

MOST_ERASED_BYTES = 600 << 20
"""Bytes of memory, in all, for the graphs with erased rounds that are kept: there is no end of them."""

_Lost = tuple[tuple[int, Component], ...]
"""Components, each with its layer relative to the window's first."""
_Key = tuple[CutKey, _Lost]
_Content = tuple[WindowPlaces, bytes]


def _unthrottled() -> None:
    pass


class WindowGraphs:
    """The matchers of an experiment's windows; windows with equal DEMs share one.

    One thread may use what another one adds.

    Args:
        inner: a name in `INNER_DECODERS`.
        stored: graphs by `cut_key`, of a model whose layers are only a skeleton.
    """

    def __init__(self, *, inner: str, stored: Mapping[CutKey, WindowMatcher] | None = None) -> None:
        if inner not in INNER_DECODERS:
            raise ValueError(
                f"inner={inner!r} cannot decode windows, which need to know the edges that were used; "
                f"choose one of {', '.join(INNER_DECODERS)}"
            )
        self.inner = inner
        self._by_key: dict[CutKey, WindowMatcher] = dict(stored or {})
        self._contents: dict[CutKey, _Content] = {}
        self._by_content: dict[_Content, WindowMatcher] = {}
        self._unbuilt: dict[_Content, WindowDem] = {}
        self._erased: OrderedDict[_Key, WindowMatcher] = OrderedDict()
        self._erased_bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Number of distinct graphs that are kept."""
        return len({id(matcher) for matcher in self._by_key.values()}) + len(self._erased)

    @property
    def by_key(self) -> Mapping[CutKey, WindowMatcher]:
        """The matchers without erased rounds by `cut_key`."""
        return self._by_key

    def matcher(
        self,
        layers: LayeredDem,
        window: Window,
        *,
        erased: Iterable[tuple[int, Component]] = (),
        throttle: Callable[[], None] = _unthrottled,
    ) -> WindowMatcher:
        """The warm matcher of a window, built when it is first asked for.

        Args:
            layers: always with the same `kinds`.
            window: of them.
            erased: components, each with its layer, that are as likely as not: their edges have weight 0.
            throttle: called every few steps of building a graph with erased rounds.
        """
        if lost := _relative(erased, window):
            return self._erased_matcher(lost, layers, window, throttle)
        key = cut_key(layers, window)
        if key not in self._by_key:
            self._by_key[key] = self._of_content(self.content(layers, window))
        return self._by_key[key]

    def prebuild(
        self,
        layers: LayeredDem,
        window: Window,
        *,
        erased: Iterable[tuple[int, Component]],
        throttle: Callable[[], None] = _unthrottled,
    ) -> bool:
        """Builds a `matcher` that may be asked for; False if there is no room for it beside the others.

        Of those that nobody has asked for yet, the one that was built first is the last to go.
        """
        lost = _relative(erased, window)
        key = (cut_key(layers, window), lost)
        base = self.matcher(layers, window)
        with self._lock:
            if not lost or key in self._erased:
                return True
            if self._erased_bytes + base.num_bytes > MOST_ERASED_BYTES:
                return False
        self._keep(key, _freed(base, window, lost, throttle), asked=False)
        return True

    def content(self, layers: LayeredDem, window: Window) -> _Content:
        """Equal for windows with equal DEMs, which then share a matcher."""
        key = cut_key(layers, window)
        if key not in self._contents:
            dem = cut(layers, window)
            content = (dem.places, hashlib.sha256(dem.text.encode()).digest())
            if content not in self._by_content:
                self._unbuilt[content] = dem
            self._contents[key] = content  # last: another thread may build what it finds here
        return self._contents[key]

    def _of_content(self, content: _Content) -> WindowMatcher:
        """Where building fails, nothing has changed; where two threads build the same, the first counts."""
        dem = self._unbuilt.get(content)
        if content not in self._by_content:
            assert dem is not None
            self._by_content.setdefault(content, WindowMatcher.of_dem(dem, inner=self.inner))
            self._unbuilt.pop(content, None)
        return self._by_content[content]

    def _erased_matcher(
        self, lost: _Lost, layers: LayeredDem, window: Window, throttle: Callable[[], None]
    ) -> WindowMatcher:
        key = (cut_key(layers, window), lost)
        with self._lock:
            if key in self._erased:
                self._erased.move_to_end(key)
                return self._erased[key]
        return self._keep(key, _freed(self.matcher(layers, window), window, lost, throttle), asked=True)

    def _keep(self, key: _Key, matcher: WindowMatcher, *, asked: bool) -> WindowMatcher:
        """The one that is kept by this key now; those asked for longest ago make room for it."""
        with self._lock:
            if key in self._erased:
                return self._erased[key]
            self._erased[key] = matcher
            self._erased.move_to_end(key, last=asked)
            self._erased_bytes += matcher.num_bytes
            while self._erased_bytes > MOST_ERASED_BYTES and len(self._erased) > 1:
                self._erased_bytes -= self._erased.popitem(last=False)[1].num_bytes
        return matcher


def _relative(erased: Iterable[tuple[int, Component]], window: Window) -> _Lost:
    return tuple((t - window.start, component) for t, component in erased)


def _freed(base: WindowMatcher, window: Window, lost: _Lost, throttle: Callable[[], None]) -> WindowMatcher:
    """The matcher of a window in which these components have weight 0."""
    seen = [seen_in(window, component, t + window.start, number=base.input_index) for t, component in lost]
    graph = base.graph.freed([found for found in seen if found is not None])
    return WindowMatcher.of_graph(graph, throttle=throttle, cached=False)
