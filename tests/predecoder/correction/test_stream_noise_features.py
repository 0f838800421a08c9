"""The noise features of streams are those of whole experiments."""

import numpy as np
import pytest

from global_decoders.windows import LayeredDem
from predecoder.correction.stream_layers import StreamLayers
from predecoder.correction.stream_noise_features import StreamNoiseFeatures
from qec import DecodingProblem, memory_circuit, si1000


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
    stream = StreamNoiseFeatures(problem, StreamLayers(problem.layout, LayeredDem.from_dem(problem.dem)))
    whole = _read(3, rounds, perfect_last_round=perfect).noise_features
    got = np.concatenate([stream.of(t, t + 1, num_layers=rounds + 1) for t in range(whole.shape[1])], axis=1)
    assert np.array_equal(got, whole)
    assert np.array_equal(stream.of(0, 3, num_layers=None), whole[:, :3])


def test_layers_of_another_experiment_are_refused():
    with pytest.raises(ValueError, match="a DEM of 9 layers but the layout has 6"):
        StreamLayers(_read(3, 5).layout, LayeredDem.from_dem(_read(3, 8).dem))
