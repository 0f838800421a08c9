"""Small circuits and networks shared by the pre-decoder's tests."""

import functools
import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import sinter
import stim
import torch

import qec
from predecoder.network import (
    DenseConfig,
    DenseNetwork,
    Network,
    NetworkConfig,
    QuantizedSeparableConfig,
    SeparableConfig,
    activation_ranges,
    calibrate,
    make_network,
)
from qec import NOISE_FEATURES, DecodingProblem, DetectorLayout, MoveSet


@dataclass(frozen=True)
class Model:
    """A circuit at p = 0.01 with what the pre-decoder derives from it."""

    circuit: stim.Circuit
    problem: DecodingProblem

    @property
    def dem(self) -> stim.DetectorErrorModel:
        return self.problem.dem

    @property
    def layout(self) -> DetectorLayout:
        return self.problem.layout

    @property
    def moves(self) -> MoveSet:
        return self.problem.moves


@functools.cache
def _model(distance: int, rounds: int, basis: str, orientation: str) -> Model:
    circuit = qec.memory_circuit(
        distance=distance,
        rounds=rounds,
        basis=basis,  # pyright: ignore[reportArgumentType]
        noise=qec.depolarizing(0.01),
        orientation=orientation,  # pyright: ignore[reportArgumentType]
    )
    dem = circuit.detector_error_model(decompose_errors=True)
    return Model(circuit, DecodingProblem.from_dem(dem))


def collected(decoder: sinter.Decoder, circuit: stim.Circuit) -> sinter.TaskStats:
    """What sinter counts of 300 shots in a worker process, which takes a pickled decoder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (stats,) = sinter.collect(
            num_workers=1,
            tasks=[sinter.Task(circuit=circuit, decoder="ours")],
            custom_decoders={"ours": pickle.loads(pickle.dumps(decoder))},
            max_shots=300,
        )
    return stats


@pytest.fixture(scope="session")
def model() -> Callable[..., Model]:
    """`model(distance, rounds, basis, orientation)`, made once."""

    def make(distance: int = 3, rounds: int = 3, basis: str = "x", orientation: str = "XV") -> Model:
        return _model(distance, rounds, basis, orientation)

    return make


@pytest.fixture(scope="session")
def random_network() -> Callable[..., Network]:
    """`random_network(seed)`: a small dense network with random weights that proposes half of all moves."""

    def make(seed: int = 0, *, channels: int = 8, noise_conditioned: bool = False) -> Network:
        config = DenseConfig(channels=channels, residual_blocks=1, noise_conditioned=noise_conditioned)
        return _randomized(config, seed)

    return make


@pytest.fixture(scope="session")
def separable_network() -> Callable[..., Network]:
    """`separable_network(seed)`: like `random_network`, of the family that the native engine runs."""

    def make(
        seed: int = 0, *, channels: int = 16, patch_embedding: int = 6, noise_conditioned: bool = False
    ) -> Network:
        return _randomized(SeparableConfig(channels, 2, noise_conditioned, patch_embedding), seed)

    return make


@pytest.fixture(scope="session")
def quantized_network() -> Callable[..., Network]:
    """`quantized_network(seed)`: like `separable_network`, calibrated for int8."""

    def make(
        seed: int = 0, *, channels: int = 48, patch_embedding: int = 6, noise_conditioned: bool = False
    ) -> Network:
        network = _randomized(QuantizedSeparableConfig(channels, 2, noise_conditioned, patch_embedding), seed)
        # Mostly alike everywhere, as trained networks are: otherwise one channel would fill all ranges.
        with torch.no_grad():
            for block in network.trunk:
                block.pointwise.weight /= channels**0.5  # pyright: ignore
        features = torch.randn(1, 8 * NOISE_FEATURES, 3, 3, 3) if noise_conditioned else None
        calibrate(network, [((torch.rand(64, 16, 3, 3, 3) < 0.2).float(), features)])  # pyright: ignore
        network.stream_range *= 4  # no shot saturates it # pyright: ignore
        return network

    return make


@pytest.fixture(scope="session")
def calibrated_network() -> Callable[..., DenseNetwork]:
    """`calibrated_network(seed)`: a small dense network of single layers, with ranges for int8."""

    def make(
        seed: int = 0, *, channels: int = 24, blocks: int = 2, noise_conditioned: bool = False
    ) -> DenseNetwork:
        network = _randomized(DenseConfig(channels, blocks, noise_conditioned, time_fold=1), seed)
        assert isinstance(network, DenseNetwork)
        with torch.no_grad():
            for block in network.trunk:
                block.spatial.weight /= channels**0.5  # pyright: ignore
                block.pointwise.weight /= channels**0.5  # pyright: ignore
        features = torch.randn(1, 8 * NOISE_FEATURES, 3, 3, 3) if noise_conditioned else None
        network.ranges = activation_ranges(network, [((torch.rand(64, 16, 3, 3, 3) < 0.2).float(), features)])
        return network

    return make


def _randomized(config: NetworkConfig, seed: int) -> Network:
    torch.manual_seed(seed)
    network = make_network(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
    return network.eval()
