"""The matching graph of a window as data, for `_qecpipe` and for other processes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import scipy.sparse as sp
import stim
from scipy.sparse.csgraph import connected_components

from _qecpipe import WindowDecoder
from global_decoders.windows.cut import WindowDem, WindowPlaces

__all__ = ["INNER_DECODERS", "WindowGraph"]

INNER_DECODERS = {"pymatching": False, "pymatching-correlated": True}
"""Global decoders whose matching says which edges it used, by their registered names: correlated or not."""

_BOUNDARY = -1


@dataclass(frozen=True, eq=False)
class WindowGraph:
    """Edges of a window, weighted as in PyMatching; E edges, F flips of fault ids, C correlations.

    Attributes:
        places: of the window.
        ends: int32 (E, 2), inputs that an edge joins, ascending; -1 is the boundary.
        weights: float64 (E,).
        starts, flips: int32 (E + 1,) and (F,): edge k flips the fault ids `flips[starts[k]:starts[k + 1]]`.
        together, others, joint: int32 (E + 1,) and (C,), float64 (C,): edge k fires together with the edges
            `others[together[k]:together[k + 1]]`, with these probabilities. Empty where edges count as
            independent.
        logits: int32 (E,): where weights are the logits of a shot, the number of each edge's in its layer,
            plus `layer_size` times that layer, counted from the one before the window. Otherwise empty.
        layer_size: logits of a layer.
    """

    places: WindowPlaces
    ends: np.ndarray
    weights: np.ndarray
    starts: np.ndarray
    flips: np.ndarray
    together: np.ndarray
    others: np.ndarray
    joint: np.ndarray
    logits: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    layer_size: int = 0

    @classmethod
    def of_dem(cls, dem: WindowDem, *, correlated: bool) -> WindowGraph:
        """Read a window's error model as PyMatching does, with or without `enable_correlations`."""
        edges: dict[tuple[int, int], int] = {}
        fired: list[float] = []
        labels: list[list[int]] = []
        joint: dict[tuple[int, int], float] = {}
        for op in stim.DetectorErrorModel(dem.text).flattened():
            if isinstance(op, stim.DemRepeatBlock) or op.type != "error":
                continue
            (p,), members = op.args_copy(), []
            for group in op.target_groups():
                ends = sorted(t.val for t in group if t.is_relative_detector_id())
                edge = (ends[0], ends[1]) if len(ends) == 2 else (_BOUNDARY, ends[0])
                if edge not in edges:
                    edges[edge] = len(fired)
                    fired.append(0.0)
                    labels.append(sorted(t.val for t in group if t.is_logical_observable_id()))
                members.append(edges[edge])
                fired[edges[edge]] = _odd(fired[edges[edge]], p)
            if correlated:
                for pair in ((a, b) for a in members for b in members if a != b):
                    joint[pair] = _odd(joint.get(pair, 0.0), p)
        pairs = np.array(sorted(joint), dtype=np.int32).reshape(-1, 2)
        probabilities = np.array(fired, dtype=np.float64)
        return cls(
            places=dem.places,
            ends=np.array(list(edges), dtype=np.int32).reshape(-1, 2),
            weights=np.log((1 - probabilities) / probabilities),
            starts=np.cumsum([0, *map(len, labels)], dtype=np.int32),
            flips=np.array([flip for label in labels for flip in label], dtype=np.int32),
            together=_starts(pairs[:, 0], len(edges)) if correlated else np.zeros(0, dtype=np.int32),
            others=pairs[:, 1].copy(),
            joint=np.array([joint[a, b] for a, b in pairs.tolist()], dtype=np.float64),
        )

    def decoder(self, *, num_layers: int, num_sites: int) -> WindowDecoder:
        """The matching on this graph.

        Args:
            num_layers: that the window decodes.
            num_sites: of the experiment; each layer has some of them.
        """
        places = self.places
        return WindowDecoder(
            num_layers=num_layers,
            num_sites=num_sites,
            num_observables=places.num_observables,
            inputs=_pairs(places.inputs),
            artificial_defects=_pairs(places.artificial_defects),
            ends=self.ends,
            weights=self.weights,
            starts=self.starts,
            flips=self.flips,
            together=self.together,
            others=self.others,
            joint=self.joint,
            certain_inputs=np.array(places.certain_inputs, dtype=np.int32),
            certain_flips=np.array(places.certain_flips, dtype=np.int32),
            logits=self.logits,
            layer_size=self.layer_size,
        )

    @cached_property
    def content(self) -> bytes:
        """Equal for equal graphs, and for no others."""
        digest = hashlib.sha256(repr((self.places, self.layer_size)).encode())
        arrays = (self.ends, self.weights, self.starts, self.flips, self.together, self.others, self.joint)
        for array in (*arrays, self.logits):
            digest.update(f"{array.shape}".encode() + array.tobytes())
        return digest.digest()

    @property
    def certain_inputs(self) -> np.ndarray:
        """uint8 0/1 (inputs,): detections of what always happens."""
        bits = np.zeros(len(self.places.inputs), dtype=np.uint8)
        bits[list(self.places.certain_inputs)] = 1
        return bits

    @cached_property
    def components(self) -> np.ndarray:
        """int32 (inputs + 1,): which inputs edges connect; the boundary is the last.

        Detections are explained where each component, but for the boundary's, has an even number.
        """
        size = len(self.places.inputs) + 1
        ends = np.where(self.ends < 0, size - 1, self.ends)
        edges = sp.coo_matrix((np.ones(len(ends), dtype=np.uint8), (ends[:, 0], ends[:, 1])), (size, size))
        return connected_components(edges, directed=False)[1]

    def explains(self, detections: np.ndarray) -> bool:
        """Whether some edges explain uint8 0/1 (inputs,), without what always happens."""
        odd = np.bincount(self.components[:-1], weights=detections, minlength=self.components.max() + 1) % 2
        odd[self.components[-1]] = 0
        return not odd.any()


def _odd(p: float, q: float) -> float:
    """Probability that exactly one of two independent events happens."""
    return p * (1 - q) + q * (1 - p)


def _starts(ascending: np.ndarray, count: int) -> np.ndarray:
    """int32 (count + 1,): where the values 0, 1, ... begin."""
    return np.searchsorted(ascending, np.arange(count + 1)).astype(np.int32)


def _pairs(places: tuple[tuple[int, int], ...]) -> np.ndarray:
    return np.array(places, dtype=np.int32).reshape(-1, 2)
