"""Logits to committed moves, residual syndrome and observable flips on the device: a threshold policy.

The kernel `correct` does what `predecoder.correction` does with `ClusterDecision` and `Residual`, which
define it. `CorrectionTables` are what it knows of a layout; `CommitRule` is the policy.

Shape letters: S shots, D detectors, M moves, O observables, H hyperedges, V elements of the network's
output for one shot. Rows of bits are little-endian words: uint32 `(S, ceil(n / 32))`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

import numpy as np
import scipy.sparse as sp

from cuda.qecpipe.launch import KernelArgument
from cuda.qecpipe.quantize_moves import LogitType

__all__ = ["CommitRule", "CorrectionTables", "correct_arguments"]

SOURCE_FILE = "correct.cu"
ENTRY = "correct"
THREADS = 512  # the kernel's __launch_bounds__
_MOVES_AT = 6  # the kernel's kMovesAt
_LANES = 64  # the kernel's kLanes
_LIMIT = 1 << 31
_BUFFERS = ("moves", "residual", "flips", "scratch")


@dataclass(frozen=True)
class CommitRule:
    """By which rule logits become committed moves: `predecoder.correction.ThresholdPolicy` has the words.

    Attributes:
        propose: a move is proposed where its logit exceeds this.
        commit: a cluster is committed where the smallest logit in it reaches this.
        empty_residual: commit only clusters that explain every detection they touch.
    """

    propose: float
    commit: float
    empty_residual: bool = False

    @property
    def commits_all(self) -> bool:
        """Whether every proposed move is committed."""
        return self.commit == self.propose and not self.empty_residual

    @property
    def thresholds(self) -> tuple[np.float32, np.float32]:
        """`propose` and `commit` so that float32 logits compare as with the numbers themselves."""
        commit = np.float32(self.commit)
        if float(commit) < self.commit:
            commit = np.nextafter(commit, np.float32(np.inf))
        return np.float32(self.propose), commit


class CorrectionTables:
    """What the kernel knows of a layout.

    Attributes:
        arrays: int32, by name, in the order of the kernel's arguments; `correct.cu` has their shapes.
        num_moves, num_detectors, num_observables, num_hyperedges: M, D, O and H.
        width: the largest number of detectors of a hyperedge.
    """

    def __init__(
        self,
        ends: np.ndarray,
        places: np.ndarray,
        observables: sp.csc_matrix | sp.csc_array,
        *,
        num_detectors: int,
        hyperedges: np.ndarray | None = None,
    ) -> None:
        """Sort the moves by detector and by observable.

        Args:
            ends: int `(2, M)`: the detectors that every move flips, the second -1 where that is one.
            places: int `(M,)`: where each move stands in a shot's output.
            observables: uint8 `(O, M)`: the observables that every move flips.
            num_detectors: D.
            hyperedges: int `(H, w)`: the detectors of each, its first one repeated up to w; None where
                clusters are of moves alone.

        Raises:
            ValueError: arrays do not fit each other, name a detector that there is not, or are too large.
        """
        self.num_detectors, self.num_moves = num_detectors, ends.shape[1]
        self.num_observables = observables.shape[0]
        nodes = np.zeros((0, 1), dtype=np.int64) if hyperedges is None else hyperedges
        self.num_hyperedges, self.width = nodes.shape
        self._check(ends, places, observables, nodes)
        at, across = _by_detector(ends, num_detectors)
        repeated = np.zeros(nodes.shape, dtype=bool)
        repeated[:, 1:] = nodes[:, 1:] == nodes[:, :1]
        # Distinct detectors first.
        nodes = np.take_along_axis(
            np.where(repeated, -1, nodes), np.argsort(repeated, axis=1, kind="stable"), axis=1
        )
        edge, column = np.nonzero(nodes >= 0)
        edge_starts, edges = _grouped(nodes[edge, column], edge, num_detectors)
        flips = sp.csr_array(observables)
        arrays = {
            "places": _by_word(places[None], fill=0),
            "first": _by_word(ends[:1], fill=0),
            "at": _by_word(at),
            "across": _by_word(across),
            "nodes": _by_word(nodes.T),
            "edge_starts": edge_starts,
            "edges": edges,
            "flip_starts": flips.indptr,
            "flipping": flips.indices,
        }
        for name, array in arrays.items():
            if array.size >= _LIMIT:
                raise ValueError(
                    f"table {name!r} would have {array.size} entries; the kernel counts below 2^31"
                )
        self.arrays = {name: np.ascontiguousarray(array, dtype=np.int32) for name, array in arrays.items()}

    def _check(
        self, ends: np.ndarray, places: np.ndarray, observables: sp.csc_array, nodes: np.ndarray
    ) -> None:
        if ends.shape[0] != 2 or places.shape != (self.num_moves,):
            raise ValueError(f"ends have shape {ends.shape} and places {places.shape}; use (2, M) and (M,)")
        if observables.shape[1] != self.num_moves:
            raise ValueError(
                f"observables are of {observables.shape[1]} moves, but there are {self.num_moves}"
            )
        for name, array, least in (
            ("ends[0]", ends[0], 0),
            ("ends[1]", ends[1], -1),
            ("hyperedges", nodes, 0),
        ):
            wrong = array[(array < least) | (array >= self.num_detectors)]
            if len(wrong):
                raise ValueError(f"{name} has {wrong[0]}, which is not one of {self.num_detectors} detectors")
        if places.size and not 0 <= places.min() <= places.max() < _LIMIT:
            raise ValueError(
                f"places are from {places.min()} to {places.max()}; the kernel counts from 0 below 2^31"
            )

    @property
    def scratch_words(self) -> int:
        """Words of scratch memory that a block of the grid needs."""
        moves, detectors, flips, hyperedges = map(
            _words, (self.num_moves, self.num_detectors, self.num_observables, self.num_hyperedges)
        )
        return moves + 3 * detectors + hyperedges + _LANES * flips

    def buffer_words(self, *, shots: int, grid: int) -> dict[str, int]:
        """Words of every buffer that the kernel writes: moves, residual, flips and scratch."""
        words = map(_words, (self.num_moves, self.num_detectors, self.num_observables))
        rows = (shots * width for width in words)
        return dict(zip(_BUFFERS, (*rows, grid * self.scratch_words), strict=True))


def correct_arguments(
    tables: CorrectionTables,
    rule: CommitRule,
    dtype: LogitType,
    *,
    logits: int,
    packed: int,
    on_device: Mapping[str, int],
    shots: int,
    volume: int,
) -> tuple[KernelArgument, ...]:
    """The kernel's arguments in the order of its signature.

    Args:
        logits: address of the network's output `(S, V)`.
        packed: address of uint8 `(S, ceil(D / 8))`, detections.
        on_device: addresses of `tables.arrays`, and of buffers as large as `tables.buffer_words` says.
        volume: V.
    """
    pointers = (logits, packed, *(on_device[name] for name in (*tables.arrays, *_BUFFERS)))
    sizes = (
        get_args(LogitType).index(dtype),
        shots,
        volume,
        -(-tables.num_detectors // 8),
        tables.num_moves,
        tables.num_detectors,
        tables.num_hyperedges,
        tables.width,
        tables.num_observables,
        not rule.commits_all,
        rule.empty_residual,
    )
    return (*pointers, *map(np.int64, sizes), *rule.thresholds)


def _words(bits: int) -> int:
    return -(-bits // 32)


def _by_word(rows: np.ndarray, *, fill: int = -1) -> np.ndarray:
    """Rows `(k, n)` as `(k, 32, ceil(n / 32))`: what belongs to bit b of word w at [:, b, w]."""
    padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 32)), constant_values=fill)
    return padded.reshape(len(rows), -1, 32).transpose(0, 2, 1)


def _grouped(keys: np.ndarray, values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Values by their keys 0..count - 1: those of key k are values[starts[k]:starts[k + 1]], in order."""
    starts = np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=count))])
    return starts, values[np.argsort(keys, kind="stable")]


def _by_detector(ends: np.ndarray, num_detectors: int) -> tuple[np.ndarray, np.ndarray]:
    """Moves at every detector, and their other detectors: int `(6, D)` each, -1 behind the last."""
    two = np.flatnonzero(ends[1] >= 0)
    detector = np.concatenate([ends[0], ends[1, two]])
    move, other = np.concatenate([np.arange(ends.shape[1]), two]), np.concatenate([ends[1], ends[0, two]])
    starts, order = _grouped(detector, np.arange(len(detector)), num_detectors)
    slot = np.arange(len(order)) - starts[detector[order]]
    if slot.max(initial=0) >= _MOVES_AT:
        crowded = detector[order][slot.argmax()]
        raise ValueError(f"{slot.max() + 1} moves flip detector {crowded}; the kernel takes {_MOVES_AT}")
    at, across = np.full((2, _MOVES_AT, num_detectors), -1, dtype=np.int64)
    at[slot, detector[order]], across[slot, detector[order]] = move[order], other[order]
    return at, across
