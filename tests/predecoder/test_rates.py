"""The noise features of streams are those of whole experiments."""

import numpy as np
import pytest
import torch

from global_decoders.windows import LayeredDem
from predecoder.rates import StreamRates
from predecoder.stream_layers import StreamLayers
from qec import NOISE_FEATURES, DecodingProblem, memory_circuit, si1000


def _read(distance: int, rounds: int, basis: str = "x", **options) -> DecodingProblem:
    circuit = memory_circuit(
        distance=distance,
        rounds=rounds,
        basis=basis,  # pyright: ignore[reportArgumentType]
        noise=si1000(0.004),
        **options,
    )
    return DecodingProblem.from_circuit(circuit)


@pytest.mark.parametrize("perfect", [False, True])
@pytest.mark.parametrize("rounds", [5, 6, 20])
def test_a_stream_of_any_length_is_told_what_its_own_dem_says(perfect, rounds):
    problem = _read(3, 8, perfect_last_round=perfect)
    stream = StreamRates(problem, StreamLayers(problem.layout, LayeredDem.from_dem(problem.dem)))
    whole = _read(3, rounds, perfect_last_round=perfect).noise_features
    got = np.concatenate([stream.of(t, t + 1, num_layers=rounds + 1) for t in range(whole.shape[1])], axis=1)
    assert np.array_equal(got, whole)
    assert np.array_equal(stream.of(0, 3, num_layers=None), whole[:, :3])


def test_layers_of_another_experiment_are_refused():
    with pytest.raises(ValueError, match="a DEM of 9 layers but the layout has 6"):
        StreamLayers(_read(3, 5).layout, LayeredDem.from_dem(_read(3, 8).dem))


def test_a_network_is_told_what_it_has_to_know_and_nothing_else(random_network):
    inputs, rates = torch.zeros(1, 16, 2, 2, 2), torch.zeros(1, 8 * NOISE_FEATURES, 2, 2, 2)
    with pytest.raises(ValueError, match="rates=True was run without its rates"):
        random_network(rates=True)(inputs)
    with pytest.raises(ValueError, match="rates=False was run with rates"):
        random_network()(inputs, rates)
