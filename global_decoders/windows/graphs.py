"""The graphs of an experiment's windows: equal windows share one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from _qecpipe import WindowDecoder, WindowSet
from global_decoders.windows.cut import CutKey, cut, cut_key
from global_decoders.windows.graph import INNER_DECODERS, WindowGraph
from global_decoders.windows.layers import LayeredDem
from global_decoders.windows.plan import Window

__all__ = ["MOST_ERASED_BYTES", "WindowGraphs"]

MOST_ERASED_BYTES = 64 << 20
"""Bytes of memory, in all, for the graphs with erased rounds that are kept: there is no end of them."""


class WindowGraphs:
    """The graphs of an experiment's windows and their decoders; equal graphs are one.

    One thread may use what another one adds.

    Attributes:
        inner: the decoder's name.
        reach, ahead: layers before and after a window that its graph depends on, besides those that
            mechanisms reach.
        native: the decoders by flat `cut_key`, as streams look for them.
    """

    def __init__(
        self,
        *,
        inner: str,
        make: Callable[[LayeredDem, Window], WindowGraph] | None = None,
        reach: int = 0,
        ahead: int = 0,
        stored: tuple[Mapping[CutKey, WindowGraph], int] | None = None,
    ) -> None:
        """Holds no graph yet, or those that are stored.

        Args:
            inner: a name in `INNER_DECODERS`, or any other one with `make`.
            make: the graph of a window; by default, it is cut from the error model.
            stored: graphs by `cut_key`, of a model whose layers are only a skeleton, and its number of sites.

        Raises:
            ValueError: no decoder of that name can decode windows.
        """
        if inner not in INNER_DECODERS and make is None:
            raise ValueError(
                f"inner={inner!r} cannot decode windows, which need to know the edges that were used; "
                f"choose one of {', '.join(INNER_DECODERS)}"
            )
        self.inner, self.reach, self.ahead = inner, reach, ahead
        self.native = WindowSet(MOST_ERASED_BYTES)
        self._make = make or self._cut
        self._by_key: dict[CutKey, WindowGraph] = {}
        self._by_content: dict[bytes, WindowGraph] = {}
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
        key = cut_key(layers, window, reach=self.reach, ahead=self.ahead)
        if key not in self._by_key:
            # Where building fails, nothing has changed; where two threads build the same, the first counts.
            graph = self._make(layers, window)
            graph = self._by_content.setdefault(graph.content, graph)
            self._add(key, graph, len(layers.positions))
        return self._by_key[key]

    def decoder(self, layers: LayeredDem, window: Window) -> WindowDecoder:
        """The decoder of a window, as `graph`."""
        return self._decoders[id(self.graph(layers, window))]

    def _cut(self, layers: LayeredDem, window: Window) -> WindowGraph:
        return WindowGraph.of_dem(cut(layers, window), correlated=INNER_DECODERS[self.inner])

    def _add(self, key: CutKey, graph: WindowGraph, num_sites: int) -> None:
        shape, rules, kinds = key
        if id(graph) not in self._decoders:
            self._decoders[id(graph)] = graph.decoder(num_layers=shape[2], num_sites=num_sites)
        self.native.add([*shape, *map(int, rules), *kinds], self._decoders[id(graph)])
        self._by_key[key] = graph
