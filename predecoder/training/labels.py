"""Which moves a pre-decoder should propose: training labels for any DEM.

Shape legend: B shots, N moves of `MoveSet`. Labels are 0/1 uint8 `(B, N)` with M y = s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pymatching
import scipy.sparse as sp
import stim

from qec import DecodingProblem, DetectorLayout, LayoutError

__all__ = [
    "Keep",
    "LabelledShots",
    "ObservableConditionedLabels",
    "SampledLabels",
    "TeacherLabels",
    "UnlabelledShots",
    "sample_kept",
]

Keep = Callable[[np.ndarray], np.ndarray]
"""Which shots to keep, bool `(B,)`, of bit-packed detections: a rule that knows nothing of the truth."""

_CHUNK = 256
_MAX_SAMPLED_PER_SHOT = 100_000

_TILT_TIJ = (3.4e-3, 4.0e-3, 2.6e-3)
"""Slope of the teacher's log-probabilities per layer, row and column: breaks ties, decides nothing else."""


class LabelledShots(NamedTuple):
    """Shots with their labels.

    Attributes:
        packed: detections, bit-packed uint8 `(B, ceil(num_detectors / 8))` LSB first.
        labels: uint8 0/1 `(B, N)`; float16 `(B, N)` where they are probabilities; `(B, 0)` where somebody
            else makes them.
        observables: the true flips, bit-packed uint8 `(B, ceil(num_observables / 8))` LSB first.
    """

    packed: np.ndarray
    labels: np.ndarray
    observables: np.ndarray


class UnlabelledShots:
    """Shots alone."""

    def __init__(self, dem: stim.DetectorErrorModel) -> None:
        self._dem = dem

    def sample(self, shots: int, *, seed: int, keep: Keep | None = None) -> LabelledShots:
        """Sample shots, those that `keep` wants."""
        packed, truth, _ = sample_kept(self._dem, shots, seed=seed, keep=keep)
        return LabelledShots(packed, packed[:, :0], truth)


class SampledLabels:
    """The truth: the moves of the mechanisms that fired.

    The same syndrome can come with different labels, so the loss has a floor, but nothing is
    assumed about any decoder.
    """

    def __init__(self, problem: DecodingProblem) -> None:
        self._dem = problem.dem
        of_mechanisms = problem.moves.of_mechanisms(problem.tables)
        self._moves_of_mechanism = sp.csr_matrix(of_mechanisms.T.astype(np.int32))

    def sample(self, shots: int, *, seed: int, keep: Keep | None = None) -> LabelledShots:
        """Sample shots, those that `keep` wants, and label them."""
        packed, truth, fired = sample_kept(self._dem, shots, seed=seed, keep=keep, return_errors=True)
        bits = np.unpackbits(fired, axis=1, count=self._moves_of_mechanism.shape[0], bitorder="little")
        labels = sp.csr_matrix(bits, dtype=np.int32) @ self._moves_of_mechanism
        return LabelledShots(packed, (labels.toarray() & 1).astype(np.uint8), truth)


class TeacherLabels:
    """The moves that correlated PyMatching picks, made unique.

    They depend on the syndrome alone, so their loss floor is lower than the truth's. Log-probabilities
    are tilted linearly over the canonical grid, so that among equally likely corrections the same one
    is picked everywhere and the network need not learn a coin toss.
    """

    def __init__(self, problem: DecodingProblem) -> None:
        self._dem, layout = problem.dem, problem.layout
        self._num_detectors = layout.num_detectors
        self._graph = pymatching.Matching.from_detector_error_model(
            self._decoded_model(_tilted(self._dem, layout)), enable_correlations=True
        )
        self._num_nodes = self._graph.num_detectors
        edges = [_edge_of(e, self._num_nodes) for e in self._graph.edges()]
        keys = np.array([self._key(*ends) for ends, _ in edges], dtype=np.int64)
        order = np.argsort(keys)
        self._keys = keys[order]
        sets = [edges[k] for k in order]
        real = range(self._num_detectors)
        chains = problem.moves.of_detector_sets(
            _incidence([[d for d in ends if d in real] for ends, _ in sets], rows=self._num_detectors),
            _incidence([observables for _, observables in sets], rows=layout.num_observables),
        )
        self._moves_of_edge = sp.csr_matrix(chains.T.astype(np.int32))

    def sample(self, shots: int, *, seed: int, keep: Keep | None = None) -> LabelledShots:
        """Sample shots, those that `keep` wants, and label them."""
        packed, truth, _ = sample_kept(self._dem, shots, seed=seed, keep=keep)
        return LabelledShots(packed, self.label(packed), truth)

    def label(self, packed: np.ndarray) -> np.ndarray:
        """Labels of given detections, bit-packed uint8 `(B, ceil(num_detectors / 8))` LSB first."""
        return self._label(np.unpackbits(packed, axis=1, count=self._num_detectors, bitorder="little"))

    def _decoded_model(self, tilted: stim.DetectorErrorModel) -> stim.DetectorErrorModel:
        return tilted

    def _label(self, shots: np.ndarray) -> np.ndarray:
        """Labels of syndromes of the decoded model, uint8 0/1."""
        pointers, indices = [0], []
        for shot in shots:
            edges = self._graph.decode_to_edges_array(shot, enable_correlations=True)
            low, high = np.minimum(edges[:, 0], edges[:, 1]), np.maximum(edges[:, 0], edges[:, 1])
            indices.append(np.searchsorted(self._keys, self._key(low, high)))
            pointers.append(pointers[-1] + len(edges))
        used = np.concatenate([*indices, np.zeros(0, dtype=np.int64)])
        picked = sp.csr_matrix(
            (np.ones(len(used), dtype=np.int32), used, pointers), shape=(len(shots), len(self._keys))
        )
        return ((picked @ self._moves_of_edge).toarray() & 1).astype(np.uint8)

    def _key(self, low: np.ndarray | int, high: np.ndarray | int) -> np.ndarray | int:
        """One number per edge; the boundary is end -1, and low <= high."""
        return (low + 1) * (self._num_nodes + 1) + high + 1


class ObservableConditionedLabels(TeacherLabels):
    """The teacher's moves given the true observables: always of the right logical class.

    Every edge that flips observable k also flips an extra detector, whose syndrome is the truth. The
    labels are then unbiased where the teacher itself would fail, though no longer a function of the
    syndrome alone.
    """

    def sample(self, shots: int, *, seed: int, keep: Keep | None = None) -> LabelledShots:
        """Sample shots, those that `keep` wants, and label them."""
        packed, truth, _ = sample_kept(self._dem, shots, seed=seed, keep=keep)
        detections = np.unpackbits(packed, axis=1, count=self._num_detectors, bitorder="little")
        observables = np.unpackbits(truth, axis=1, count=self._dem.num_observables, bitorder="little")
        return LabelledShots(packed, self._label(np.hstack([detections, observables])), truth)

    def label(self, packed: np.ndarray) -> np.ndarray:
        """Not available: these labels need the truth, so they come with `sample` only.

        Raises:
            TypeError: always.
        """
        raise TypeError("observable-conditioned labels need the observables; use sample(), or TeacherLabels")

    def _decoded_model(self, tilted: stim.DetectorErrorModel) -> stim.DetectorErrorModel:
        model = stim.DetectorErrorModel()
        for instruction in tilted:
            if isinstance(instruction, stim.DemRepeatBlock) or instruction.type != "error":
                model.append(instruction)
                continue
            targets = []
            for group in instruction.target_groups():
                flips = [t.val for t in group if t.is_logical_observable_id()]
                detectors = sum(t.is_relative_detector_id() for t in group)
                if flips and detectors + len(flips) > 2:
                    raise LayoutError(
                        f"the component {group} flips observable L{flips[0]} and {detectors} detectors, so "
                        "it is no edge once the truth is a detector; use teacher labels for this model"
                    )
                extra = [stim.target_relative_detector_id(self._num_detectors + k) for k in flips]
                targets += [stim.target_separator(), *group, *extra]
            model.append("error", instruction.args_copy(), targets[1:])
        last = self._num_detectors + self._dem.num_observables - 1
        model.append("detector", [], [stim.target_relative_detector_id(last)])
        return model


def sample_kept(
    dem: stim.DetectorErrorModel, shots: int, *, seed: int, keep: Keep | None, return_errors: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Detections, observables and (if asked for) fired mechanisms, bit-packed, of shots that are kept.

    Raises:
        ValueError: so few shots are kept that they will not be found.
    """
    sampler = dem.compile_sampler(seed=seed)
    size = shots if keep is None else _CHUNK
    parts: list[list[np.ndarray]] = []
    found = sampled = 0
    while found < shots:
        packed, truth, fired = sampler.sample(size, bit_packed=True, return_errors=return_errors)
        mask = np.ones(size, dtype=bool) if keep is None else keep(packed)
        parts.append([part[mask] for part in (packed, truth, packed[:, :0] if fired is None else fired)])
        found += int(mask.sum())
        sampled += size
        if sampled > _MAX_SAMPLED_PER_SHOT * max(1, found):
            raise ValueError(f"only {found} of {sampled:,} shots are of the kind that is wanted")
    packed, truth, fired = (np.concatenate(column)[:shots] for column in zip(*parts, strict=True))
    return packed, truth, fired


def _incidence(columns: list[list[int]], *, rows: int) -> sp.csc_matrix:
    """uint8 CSC `(rows, n)` with ones at the rows, all different, that each column names."""
    pointers = np.cumsum([0, *map(len, columns)])
    indices = np.array([row for column in columns for row in column], dtype=np.int64)
    return sp.csc_matrix((np.ones(len(indices), np.uint8), indices, pointers), shape=(rows, len(columns)))


def _edge_of(edge: tuple[int, int | None, dict], num_nodes: int) -> tuple[tuple[int, int], list[int]]:
    """Ends (low, high) of a PyMatching edge, boundary as -1, and its observables."""
    u, v, attributes = edge
    ends = sorted(-1 if n is None or n >= num_nodes else n for n in (u, v))
    return (ends[0], ends[1]), sorted(attributes["fault_ids"])


def _tilted(dem: stim.DetectorErrorModel, layout: DetectorLayout) -> stim.DetectorErrorModel:
    """`dem` with every probability scaled by an exponential of its place on the grid."""
    slope = np.array(_TILT_TIJ)
    tilted = stim.DetectorErrorModel()
    for instruction in dem.flattened():
        if isinstance(instruction, stim.DemRepeatBlock) or instruction.type != "error":
            continue
        targets = instruction.targets_copy()
        detectors = [t.val for t in targets if isinstance(t, stim.DemTarget) and t.is_relative_detector_id()]
        centre = layout.voxels[detectors].mean(axis=0) if detectors else np.zeros(3)
        probability = instruction.args_copy()[0] * float(np.exp(-slope @ centre))
        tilted.append("error", probability, list(targets))
    # Detectors that no mechanism flips must still be counted.
    tilted.append("detector", [], [stim.target_relative_detector_id(layout.num_detectors - 1)])
    return tilted
