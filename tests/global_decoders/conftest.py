"""Circuits, shots and the exact maximum-likelihood answer, for the tests of global decoders."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import pytest
import sinter
import stim

from global_decoders import is_available, make_decoder


@dataclasses.dataclass(frozen=True)
class ExactModel:
    """All syndromes of a small DEM with one observable, index = sum of 2**d over fired detectors.

    joint: float64 (2**num_detectors, 2), probability of syndrome and observable.
    edge_weight, fault_weight: float64 (2**num_detectors, 2), least weight of a set of edges (of
        whole mechanisms) with this syndrome and observable: what matchers (most-likely-error
        decoders) minimise.
    packed: uint8 (2**num_detectors, ceil(num_detectors/8)), every syndrome as a shot.
    """

    dem: stim.DetectorErrorModel
    joint: np.ndarray
    edge_weight: np.ndarray
    fault_weight: np.ndarray
    packed: np.ndarray

    @functools.cached_property
    def syndrome_probability(self) -> np.ndarray:
        return self.joint.sum(axis=1)

    @functools.cached_property
    def likeliest(self) -> np.ndarray:
        return self.joint.argmax(axis=1)

    @functools.cached_property
    def confidence(self) -> np.ndarray:
        """Posterior of the likelier observable value."""
        return self.joint.max(axis=1) / np.maximum(self.syndrome_probability, 1e-300)

    def error_rate(self, syndromes: np.ndarray, predictions: np.ndarray) -> float:
        """Probability that a shot has one of the syndromes and the prediction is wrong."""
        return float(self.joint[syndromes, 1 - predictions].sum())


def exact_model(dem: stim.DetectorErrorModel) -> ExactModel:
    """Convolves the mechanisms one by one over all syndromes times both observable values."""
    whole: dict[int, float] = {}
    edges: dict[int, float] = {}
    for instruction in dem.flattened():
        if isinstance(instruction, stim.DemInstruction) and instruction.type == "error":
            (p,) = instruction.args_copy()
            masks = [_mask(group, dem.num_detectors) for group in instruction.target_groups()]
            total = functools.reduce(int.__xor__, masks)
            whole[total] = _either(whole.get(total, 0.0), p)
            # An error of at most two detectors is an edge, however it may be decomposed.
            is_edge = (total & ((1 << dem.num_detectors) - 1)).bit_count() <= 2
            for mask in [total] if is_edge else masks:
                edges[mask] = _either(edges.get(mask, 0.0), p)

    states = np.arange(1 << (dem.num_detectors + 1))
    distribution = (states == 0).astype(float)
    for mask, p in whole.items():
        distribution = (1 - p) * distribution + p * distribution[states ^ mask]
    syndromes = states[: 1 << dem.num_detectors]
    bits = (syndromes[:, None] >> np.arange(dem.num_detectors)) & 1
    return ExactModel(
        dem=dem,
        joint=distribution.reshape(2, -1).T.copy(),
        edge_weight=_least_weight(edges, states).reshape(2, -1).T.copy(),
        fault_weight=_least_weight(whole, states).reshape(2, -1).T.copy(),
        packed=np.packbits(bits.astype(np.uint8), axis=1, bitorder="little"),
    )


def _least_weight(probabilities: dict[int, float], states: np.ndarray) -> np.ndarray:
    """float64, per state the least sum of log((1-p)/p) over sets of masks whose XOR is the state."""
    weight = np.where(states == 0, 0.0, np.inf)
    for mask, p in probabilities.items():
        weight = np.minimum(weight, np.log((1 - p) / p) + weight[states ^ mask])
    return weight


def _mask(targets: list[stim.DemTarget], num_detectors: int) -> int:
    mask = 0
    for target in targets:
        mask ^= 1 << (target.val if target.is_relative_detector_id() else num_detectors)
    return mask


def _either(p: float, q: float) -> float:
    return p * (1 - q) + q * (1 - p)


def without_ties(dem: stim.DetectorErrorModel) -> stim.DetectorErrorModel:
    """Every error a little likelier or less likely: no two matchings weigh the same."""
    rng, changed = np.random.default_rng(3), stim.DetectorErrorModel()
    for line in dem.flattened():
        assert isinstance(line, stim.DemInstruction)
        factor = rng.uniform(0.7, 1.3) if line.type == "error" else 1.0
        changed.append(line.type, [factor * p for p in line.args_copy()], [*line.targets_copy()])
    return changed


def memory_circuit(*, distance: int, rounds: int, p: float) -> stim.Circuit:
    return stim.Circuit.generated(
        "surface_code:rotated_memory_z",
        distance=distance,
        rounds=rounds,
        after_clifford_depolarization=p,
        before_round_data_depolarization=p,
        before_measure_flip_probability=p,
        after_reset_flip_probability=p,
    )


@pytest.fixture(scope="session")
def memory() -> Callable[..., stim.Circuit]:
    return memory_circuit


@pytest.fixture(scope="session")
def exact_of() -> Callable[[stim.DetectorErrorModel], ExactModel]:
    return exact_model


@pytest.fixture(scope="session", params=[1, 2], ids=["1 round", "2 rounds"])
def exact(request: pytest.FixtureRequest) -> ExactModel:
    """d = 3 with 1 round (8 detectors, one basis) and 2 rounds (16, both bases, correlations)."""
    circuit = memory_circuit(distance=3, rounds=request.param, p=0.01)
    return exact_model(circuit.detector_error_model(decompose_errors=True))


@pytest.fixture(scope="session")
def compiled() -> Callable[[str, stim.DetectorErrorModel], sinter.CompiledDecoder]:
    """Compiles a decoder by name, or skips the test where its package is not installed."""

    def compile_by_name(name: str, dem: stim.DetectorErrorModel) -> sinter.CompiledDecoder:
        if not is_available(name):
            pytest.skip(f"{name}: package not installed")
        return make_decoder(name).compile_decoder_for_dem(dem=dem)

    return compile_by_name
