"""The matching graph of a window as data: changed, sent to another process, and built in small steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pymatching
import stim

from global_decoders.windows.cut import Edge, Label, WindowDem, WindowPlaces

__all__ = ["INNER_DECODERS", "WindowGraph"]

INNER_DECODERS = {"pymatching": False, "pymatching-correlated": True}
"""Global decoders whose matching says which edges it used, by their registered names: correlated or not."""

_Edge = tuple[int, int, float, list[int]]
"""What it joins, ascending, -1 being the boundary; its weight; the fault ids that it flips."""

_STEP = 32
"""Edges that are added before others may work, some 50 µs."""


@dataclass(frozen=True, eq=False)
class WindowGraph:
    """Edges in PyMatching's order, by which it breaks ties; E edges, F flips of fault ids.

    Attributes:
        places: of the window.
        ends: int32 (E, 2), inputs that an edge joins, ascending; -1 is the boundary.
        weights: float64 (E,).
        starts, flips: int32 (E + 1,) and (F,): edge k flips the fault ids `flips[starts[k]:starts[k + 1]]`.
        text: the error model, kept for correlated matching, which needs it; without it these edges are all.
    """

    places: WindowPlaces
    ends: np.ndarray
    weights: np.ndarray
    starts: np.ndarray
    flips: np.ndarray
    text: str | None = None

    @classmethod
    def of_dem(cls, dem: WindowDem) -> WindowGraph:
        """Keep the window's DEM as text, which correlated matching reads."""
        return cls(dem.places, *_arrays([]), text=dem.text)

    @classmethod
    def of_matching(cls, matching: pymatching.Matching, places: WindowPlaces) -> WindowGraph:
        """The edges of a graph, exactly."""
        edges: list[_Edge] = []
        for u, v, found in matching.edges():
            low, high = (-1, u) if v is None else (min(u, v), max(u, v))
            edges.append((low, high, found["weight"], sorted(found["fault_ids"])))
        return cls(places, *_arrays(edges))

    def freed(self, seen: Iterable[tuple[Edge, Label]]) -> WindowGraph:
        """The same graph where these edges, new or not, have weight 0 (even odds) and these labels."""
        first = self.places.num_observables
        fault_ids = {place: first + k for k, place in enumerate(self.places.artificial_defects)}
        free: dict[tuple[int, int], list[int]] = {}
        for edge, (observables, handed_on) in seen:
            found = [fault_ids.setdefault(at, first + len(fault_ids)) for at in handed_on]
            free[(edge[0], edge[1]) if len(edge) == 2 else (-1, edge[0])] = [*observables, *found]
        places = dataclasses.replace(self.places, artificial_defects=tuple(fault_ids))
        if not free:
            return self
        if self.text is None:
            return self._with_free_edges(free, places)
        # PyMatching merges a component's lines into one edge, with the label of the first.
        lines = [
            "error(0.5) " + " ".join([*(f"D{k}" for k in ends if k >= 0), *(f"L{k}" for k in flips)])
            for ends, flips in free.items()
        ]
        last = [f"logical_observable L{places.num_fault_ids - 1}"] if places.num_fault_ids else []
        return dataclasses.replace(self, places=places, text="\n".join([*lines, self.text, *last]))

    def build(self, throttle: Callable[[], None] = lambda: None) -> pymatching.Matching:
        """The graph, not warm; `throttle` is called every few edges, where there are edges."""
        places = self.places
        if self.text is not None:
            matching = pymatching.Matching.from_detector_error_model(
                stim.DetectorErrorModel(self.text), enable_correlations=True
            )
            matching.ensure_num_fault_ids(places.num_fault_ids)
            return matching
        # An edge adds the detectors it joins, but some may have none.
        empty = f"detector D{len(places.inputs) - 1}" if places.inputs else ""
        matching = pymatching.Matching.from_detector_error_model(stim.DetectorErrorModel(empty))
        for k, (u, v, weight, flips) in enumerate(self._edges()):
            if u < 0:
                matching.add_boundary_edge(v, fault_ids=set(flips), weight=weight)
            else:
                matching.add_edge(u, v, fault_ids=set(flips), weight=weight)
            if k % _STEP == 0:
                throttle()
        matching.ensure_num_fault_ids(places.num_fault_ids)
        return matching

    def _with_free_edges(self, free: dict[tuple[int, int], list[int]], places: WindowPlaces) -> WindowGraph:
        where = self._find(list(free))
        weights = self.weights.copy()
        weights[where[where >= 0]] = 0.0
        graph = WindowGraph(places, self.ends, weights, self.starts, self.flips)
        flips, starts = self.flips, self.starts
        changed = [
            (k, ends, found)
            for k, (ends, found) in zip(where.tolist(), free.items(), strict=True)
            if k < 0 or flips[starts[k] : starts[k + 1]].tolist() != sorted(found)
        ]
        if not changed:
            return graph
        edges = graph._edges()
        for k, (u, v), found in changed:
            k = len(edges) if k < 0 else k
            edges[k : k + 1] = [(u, v, 0.0, sorted(found))]
        return WindowGraph(places, *_arrays(edges))

    def _find(self, wanted: list[tuple[int, int]]) -> np.ndarray:
        """int64 (wanted,): the numbers of the edges that join these, -1 for none."""
        size = len(self.places.inputs) + 1
        ours, theirs = (e[:, 0].astype(np.int64) * size + e[:, 1] for e in (self.ends, np.array(wanted)))
        if not len(ours):
            return np.full(len(wanted), -1)
        order = np.argsort(ours)
        at = order[np.minimum(np.searchsorted(ours, theirs, sorter=order), len(ours) - 1)]
        return np.where(ours[at] == theirs, at, -1)

    def _edges(self) -> list[_Edge]:
        flips, starts = self.flips.tolist(), self.starts.tolist()
        ends, weights = self.ends.tolist(), self.weights.tolist()
        return [
            (u, v, weight, flips[starts[k] : starts[k + 1]])
            for k, ((u, v), weight) in enumerate(zip(ends, weights, strict=True))
        ]


def _arrays(edges: list[_Edge]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """`ends`, `weights`, `starts`, `flips` of edges."""
    flips = [flip for edge in edges for flip in edge[3]]
    return (
        np.array([edge[:2] for edge in edges], dtype=np.int32).reshape(-1, 2),
        np.array([edge[2] for edge in edges], dtype=np.float64),
        np.cumsum([0, *(len(edge[3]) for edge in edges)], dtype=np.int32),
        np.array(flips, dtype=np.int32),
    )
