"""Two last convolutions on one trunk: one for matching, one for removal; a decoder runs one of them."""

import dataclasses

import numpy as np
import pytest
import torch

from global_decoders import make_decoder
from predecoder import (
    CompiledNeuralMatching,
    NeuralMatchingDecoder,
    PredecodedDecoder,
    load_bundle,
    save_weights,
)
from predecoder.inference import EngineOptions, make_engine
from predecoder.network import (
    DenseConfig,
    QuantizedSeparableConfig,
    SeparableConfig,
    calibrate,
    make_network,
    removal_network,
)

CONFIGS = [
    DenseConfig(8, 1, removal_head=True, noise_conditioned=True),
    DenseConfig(8, 1, removal_head=True, time_fold=1),
    SeparableConfig(16, 1, removal_head=True, patch_embedding=4),
    QuantizedSeparableConfig(16, 1, removal_head=True),
]


def _network(config, seed=1):
    torch.manual_seed(seed)
    network = make_network(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    network.eval()
    if isinstance(config, QuantizedSeparableConfig):
        x = torch.randint(0, 2, (4, 16, 3, 4, 4)).float()
        calibrate(network, [(x, None)])  # pyright: ignore[reportArgumentType]
    return network


@pytest.mark.parametrize("config", CONFIGS)
def test_each_head_gives_what_it_does_alone(config):
    """Of the trunk's last activations; with one head, both are the same."""
    network = _network(config)
    x = torch.randint(0, 2, (3, 16, 2, 3, 3)).float()
    given = (x, torch.randn(1, 64, 2, 3, 3)) if config.noise_conditioned else (x,)
    with torch.no_grad():
        matched, removal = network.both(*given)
        assert torch.equal(network(*given), matched)
        alone = removal_network(network)
        assert alone.config == dataclasses.replace(config, removal_head=False)
        assert torch.equal(alone(*given), removal)
        assert not torch.equal(matched, removal)
        assert all(torch.equal(a, removal) for a in alone.both(*given))
    assert removal_network(alone) is alone
    assert not any(name.startswith("removal") for name in alone.state_dict())


@pytest.mark.parametrize("config", [c for c in CONFIGS if not c.noise_conditioned])
def test_engines_run_either_head(model, config):
    """The native ones too, in the weights' own precision."""
    m, network, cpu = model(3, 3), _network(config), torch.device("cpu")
    packed = m.circuit.compile_detector_sampler(seed=2).sample(8, bit_packed=True)
    state = network.state_dict()
    one = make_network(dataclasses.replace(config, removal_head=False))
    one.load_state_dict({name: value for name, value in state.items() if not name.startswith("removal")})
    matched = make_engine(m.problem, network, EngineOptions(cpu))(packed)
    assert np.array_equal(matched, make_engine(m.problem, one.eval(), EngineOptions(cpu))(packed))
    removal = make_engine(m.problem, removal_network(network), EngineOptions(cpu))(packed)
    assert not np.array_equal(removal, matched)


def test_decoders_have_the_head_that_they_need(model, tmp_path):
    """From one file: as from two files with a head each."""
    m, network = model(5, 4), _network(CONFIGS[2])
    packed = m.circuit.compile_detector_sampler(seed=2).sample(60, bit_packed=True)
    both, removal = tmp_path / "both.safetensors", tmp_path / "removal.safetensors"
    save_weights(network, both, {})
    save_weights(removal_network(network), removal, {})
    bundle = load_bundle(both)
    assert bundle.network.removal_head is not None
    assert bundle.removal_network.removal_head is None

    def residual(path):
        decoder = PredecodedDecoder(make_decoder("pymatching"), weights=path, device="cpu")
        return decoder.compile_decoder_for_dem(dem=m.dem).decode_to_residual(packed)

    for ours, expected in zip(residual(both), residual(removal), strict=True):
        assert np.array_equal(ours, expected)
    compiled = NeuralMatchingDecoder(weights=both, device="cpu").compile_decoder_for_dem(dem=m.dem)
    assert isinstance(compiled, CompiledNeuralMatching)
    with torch.no_grad():
        expected = make_engine(m.problem, network, EngineOptions("cpu"))(packed)
    assert np.array_equal(compiled.logits(packed), expected)


def test_what_is_neither_true_nor_false_is_refused():
    with pytest.raises(ValueError, match="removal_head=2 is not true or false"):
        DenseConfig(removal_head=2)  # pyright: ignore[reportArgumentType]
