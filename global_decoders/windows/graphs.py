"""The graphs of an experiment's windows: equal windows share one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from _qecpipe import WindowDecoder, WindowSet
from global_decoders.windows.cut import CutKey, WindowDem, WindowPlaces, cut, cut_key
from global_decoders.windows.graph import INNER_DECODERS, WindowGraph
from global_decoders.windows.layers import LayeredDem
from global_decoders.windows.plan import Window

__all__ = ["MOST_ERASED_BYTES", "WindowGraphs"]

MOST_ERASED_BYTES = 64 << 20
"""Bytes of memory, in all, for the graphs with erased rounds that are kept: there is no end of them."""

_Content = tuple[WindowPlaces, bytes]


class WindowGraphs:
    """The graphs of an experiment's windows and their decoders; windows with equal DEMs share one.

    One thread may use what another one adds.

    Args:
        inner: a name in `INNER_DECODERS`.
        stored: graphs by `cut_key`, of a model whose layers are only a skeleton, and its number of sites.

    Attributes:
        native: the decoders by flat `cut_key`, as streams look for them.
    """

    def __init__(self, *, inner: str, stored: tuple[Mapping[CutKey, WindowGraph], int] | None = None) -> None:
        if inner not in INNER_DECODERS:
            raise ValueError(
                f"inner={inner!r} cannot decode windows, which need to know the edges that were used; "
                f"choose one of {', '.join(INNER_DECODERS)}"
            )
        self.inner = inner
        self.native = WindowSet(MOST_ERASED_BYTES)
        self._by_key: dict[CutKey, WindowGraph] = {}
        self._contents: dict[CutKey, _Content] = {}
        self._by_content: dict[_Content, WindowGraph] = {}
        self._unbuilt: dict[_Content, WindowDem] = {}
        self._decoders: dict[int, WindowDecoder] = {}
        if stored is not None:
            graphs, num_sites = stored
            for key, graph in graphs.items():
                self._add(key, graph, num_sites)

    def __len__(self) -> int:
        """Number of distinct graphs, without those with erased rounds."""
        return len(self._decoders)

    @property
    def by_key(self) -> Mapping[CutKey, WindowGraph]:
        """The graphs by `cut_key`."""
        return self._by_key

    def graph(self, layers: LayeredDem, window: Window) -> WindowGraph:
        """The graph of a window, built when it is first asked for.

        Args:
            layers: always with the same `kinds`.
            window: of them.
        """
        key = cut_key(layers, window)
        if key not in self._by_key:
            self._add(key, self._of_content(self.content(layers, window)), len(layers.positions))
        return self._by_key[key]

    def decoder(self, layers: LayeredDem, window: Window) -> WindowDecoder:
        """The decoder of a window, as `graph`."""
        return self._decoders[id(self.graph(layers, window))]

    def content(self, layers: LayeredDem, window: Window) -> _Content:
        """Equal for windows with equal DEMs, which then share a graph."""
        key = cut_key(layers, window)
        if key not in self._contents:
            dem = cut(layers, window)
            content = (dem.places, hashlib.sha256(dem.text.encode()).digest())
            if content not in self._by_content:
                self._unbuilt[content] = dem
            self._contents[key] = content  # last: another thread may build what it finds here
        return self._contents[key]

    def _of_content(self, content: _Content) -> WindowGraph:
        """Where building fails, nothing has changed; where two threads build the same, the first counts."""
        dem = self._unbuilt.get(content)
        if content not in self._by_content:
            assert dem is not None
            graph = WindowGraph.of_dem(dem, correlated=INNER_DECODERS[self.inner])
            self._by_content.setdefault(content, graph)
            self._unbuilt.pop(content, None)
        return self._by_content[content]

    def _add(self, key: CutKey, graph: WindowGraph, num_sites: int) -> None:
        shape, rules, kinds = key
        if id(graph) not in self._decoders:
            self._decoders[id(graph)] = graph.decoder(num_layers=shape[2], num_sites=num_sites)
        self.native.add([*shape, *map(int, rules), *kinds], self._decoders[id(graph)])
        self._by_key[key] = graph
