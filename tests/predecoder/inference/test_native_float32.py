"""The engine in C++ gives torch's logits, whatever the patch, the batch and the thread."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import _qecpipe
from predecoder.inference import EngineOptions, NativeEngine, TorchEngine, make_engine

CPU = torch.device("cpu")


def _native(model, network, instruction_set: str = "") -> NativeEngine:
    return NativeEngine(model.problem, network, precision="float32", instruction_set=instruction_set)


def _shots(model, shots: int, *, seed: int = 1) -> np.ndarray:
    return model.dem.compile_sampler(seed=seed).sample(shots, bit_packed=True)[0]


@pytest.mark.parametrize(
    ("distance", "rounds", "basis", "orientation", "shots"),
    [
        (3, 2, "x", "XV", 1),
        (3, 7, "z", "ZH", 9),
        (5, 3, "x", "ZV", 8),
        (7, 5, "z", "XH", 20),
        (9, 2, "x", "XV", 3),
    ],
)
@pytest.mark.parametrize("noise_conditioned", [False, True])
def test_logits_are_those_of_torch(
    model, separable_network, distance, rounds, basis, orientation, shots, noise_conditioned
):
    m = model(distance, rounds, basis, orientation)
    network = separable_network(distance, noise_conditioned=noise_conditioned)
    packed = _shots(m, shots)
    expected = TorchEngine(m.problem, network, device=CPU)(packed)
    assert expected.std() > 0.1
    for name in _qecpipe.instruction_sets():
        engine = _native(m, network, name)
        assert engine.instruction_set == name
        np.testing.assert_allclose(engine(packed), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_patch_wider_than_a_tile_of_columns(model, separable_network):
    """At d = 21 a row has 11 cells, which are computed 5 and 6 at a time."""
    m, network = model(21, 2), separable_network(3)
    packed = _shots(m, 2)
    expected = TorchEngine(m.problem, network, device=CPU)(packed)
    np.testing.assert_allclose(_native(m, network)(packed), expected, rtol=1e-4, atol=1e-4)


def test_a_shot_has_the_same_bits_in_any_batch_and_thread(model, separable_network):
    m, network = model(5, 4), separable_network(4)
    packed = _shots(m, 50)
    engine = _native(m, network)
    together = engine(packed)
    assert np.array_equal(np.concatenate([engine(shot[None]) for shot in packed]), together)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(engine, [packed[k:] for k in range(40)]))
    assert all(np.array_equal(result, together[k:]) for k, result in enumerate(results))
    assert engine(packed[:0]).shape == (0, m.moves.num_moves)


@pytest.mark.parametrize("channels", [1, 12, 40])
def test_any_number_of_channels(model, separable_network, channels):
    m, network = model(3, 4, "z", "XH"), separable_network(5, channels=channels)
    packed = _shots(m, 9)
    expected = TorchEngine(m.problem, network, device=CPU)(packed)
    for name in _qecpipe.instruction_sets():
        np.testing.assert_allclose(_native(m, network, name)(packed), expected, rtol=1e-4, atol=1e-4)


def test_what_it_cannot_run_goes_to_torch(model, random_network, separable_network):
    m = model()
    dense = random_network()
    assert isinstance(make_engine(m.problem, dense, EngineOptions(CPU)), TorchEngine)
    with pytest.raises(ValueError, match="separable networks, not DenseConfig"):
        _native(m, dense)
    separable = separable_network()
    assert isinstance(make_engine(m.problem, separable, EngineOptions(CPU)), NativeEngine)


def test_shots_of_another_size_are_refused(model, separable_network):
    m = model()
    engine = _native(m, separable_network())
    with pytest.raises(ValueError, match=r"got an array of uint8 \(2, 9\), but uint8 \(\*, 3\)"):
        engine(np.zeros((2, 9), dtype=np.uint8))


def test_an_instruction_set_that_is_not_here_is_refused(model, separable_network):
    with pytest.raises(ValueError, match='no instruction set "mmx" here, only baseline'):
        _native(model(), separable_network(), "mmx")
    best = _native(model(), separable_network())
    assert best.instruction_set == _qecpipe.instruction_sets()[-1]
