"""DEM -> fault list: what a decoder that is not given Stim's own format needs to know.

A fault is a set of detectors with a probability and the observables it flips. Mechanisms with the
same detectors cannot be told apart by a decoder, so they become one fault: the probability that an
odd number of them fired, with the observables of the likeliest.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import stim
from scipy.sparse import csc_matrix


@dataclasses.dataclass(frozen=True)
class Faults:
    """Faults in the order in which the DEM first names their detector sets.

    Attributes:
        probabilities: float64 (m,), each in (0, 1].
        detectors: per fault its detectors, ascending, at least one.
        observable_flips: uint8 (m, num_observables), 1 where a fault flips an observable.
        num_detectors: as the DEM counts them.
    """

    probabilities: np.ndarray
    detectors: tuple[tuple[int, ...], ...]
    observable_flips: np.ndarray
    num_detectors: int

    def __len__(self) -> int:
        return len(self.detectors)

    def weights(self) -> np.ndarray:
        """float64 (m,): log((1-p)/p), negative for p > 1/2; probabilities are kept 1e-15 away from 1."""
        p = np.minimum(self.probabilities, 1 - 1e-15)
        return np.log1p(-p) - np.log(p)

    def check_matrix(self) -> csc_matrix:
        """uint8 (num_detectors, m): column j has the detectors of fault j."""
        sizes = [len(fault) for fault in self.detectors]
        rows = np.array([d for fault in self.detectors for d in fault], dtype=np.int64)
        return csc_matrix(
            (
                np.ones(len(rows), dtype=np.uint8),
                rows,
                np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]),
            ),
            shape=(self.num_detectors, len(self)),
        )

    def flips_of(self, fault_indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """uint8 (num_observables,): XOR of the observables of the given faults."""
        return np.bitwise_xor.reduce(self.observable_flips[np.asarray(fault_indices, dtype=np.intp)], axis=0)


def mechanisms(dem: stim.DetectorErrorModel) -> Iterator[tuple[float, list[list[stim.DemTarget]]]]:
    """Probability > 0 and components of every mechanism, repeat blocks unrolled."""
    for instruction in dem.flattened():
        if isinstance(instruction, stim.DemInstruction) and instruction.type == "error":
            (p,) = instruction.args_copy()
            if p > 0:
                yield p, instruction.target_groups()


def edge_faults(dem: stim.DetectorErrorModel, *, decoder: str) -> Faults:
    """Faults of a matching graph: every component of a decomposed mechanism stands alone.

    Raises:
        ValueError: a component has more than two detectors (see `require_edges`).
    """
    require_edges(dem, decoder=decoder)
    return _merged(dem, ((p, group) for p, groups in mechanisms(dem) for group in groups))


def hyperedge_faults(dem: stim.DetectorErrorModel) -> Faults:
    """Faults of the full error model: components of a mechanism fire together."""
    joined = ((p, [target for group in groups for target in group]) for p, groups in mechanisms(dem))
    return _merged(dem, joined)


def require_edges(dem: stim.DetectorErrorModel, *, decoder: str) -> None:
    """Checks that every component of every mechanism has at most two detectors.

    Repeat blocks are checked once, without unrolling.

    Raises:
        ValueError: naming the mechanism, the decoder and what to do.
    """
    for instruction in dem:
        if isinstance(instruction, stim.DemRepeatBlock):
            require_edges(instruction.body_copy(), decoder=decoder)
        elif instruction.type == "error":
            for group in instruction.target_groups():
                if len(group) > 2 and sum(t.is_relative_detector_id() for t in group) > 2:
                    raise ValueError(
                        f"{decoder} matches pairs of detectors and cannot use the mechanism '{instruction}', "
                        "which has a component of more than two; build the DEM with "
                        "circuit.detector_error_model(decompose_errors=True), or choose a decoder for "
                        "hypergraphs (bp-osd, bp-lsd, mwpf, tesseract, relay-bp)"
                    )


def _merged(dem: stim.DetectorErrorModel, parts: Iterator[tuple[float, list[stim.DemTarget]]]) -> Faults:
    by_detectors: dict[frozenset[int], dict[frozenset[int], float]] = {}
    for p, targets in parts:
        detectors, observables = set[int](), set[int]()
        for target in targets:
            (detectors if target.is_relative_detector_id() else observables).symmetric_difference_update(
                [target.val]
            )
        if detectors:  # an error without detectors cannot be decoded, only suffered
            alternatives = by_detectors.setdefault(frozenset(detectors), {})
            key = frozenset(observables)
            alternatives[key] = _odd(alternatives.get(key, 0.0), p)

    probabilities = np.zeros(len(by_detectors))
    flips = np.zeros((len(by_detectors), dem.num_observables), dtype=np.uint8)
    for j, alternatives in enumerate(by_detectors.values()):
        for p in alternatives.values():
            probabilities[j] = _odd(probabilities[j], p)
        flips[j, list(max(alternatives, key=alternatives.__getitem__))] = 1
    return Faults(
        probabilities=probabilities,
        detectors=tuple(tuple(sorted(detectors)) for detectors in by_detectors),
        observable_flips=flips,
        num_detectors=dem.num_detectors,
    )


def _odd(p: float, q: float) -> float:
    """Probability that exactly one of two independent events happens."""
    return p * (1 - q) + q * (1 - p)
