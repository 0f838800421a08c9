"""The three families: configurations that say what is wrong; operations and halo are their layers'."""

import dataclasses

import pytest
import torch

from predecoder.network import (
    DenseConfig,
    QuantizedSeparableConfig,
    SeparableConfig,
    calibrate,
    make_network,
    network_config,
)
from qec import NOISE_FEATURES

CONFIGS = [
    DenseConfig(8, 2),
    DenseConfig(8, 2, time_fold=1),
    SeparableConfig(8, 2),
    SeparableConfig(8, 2, patch_embedding=3),
    QuantizedSeparableConfig(16, 1),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_a_configuration_survives_as_a_table(config):
    assert network_config(dataclasses.asdict(config)) == config
    assert type(network_config(dataclasses.asdict(config))) is type(config)


def test_the_family_is_dense_unless_given():
    assert network_config({"channels": 12}) == DenseConfig(channels=12)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (
            {"family": "sparse"},
            "family='sparse' is unknown; use one of dense, separable, quantized-separable",
        ),
        ({"patch_embedding": 4}, "unknown key 'patch_embedding' of family='dense'; known keys are channels"),
        ({"family": "separable", "time_fold": 2}, "unknown key 'time_fold' of family='separable'"),
        ({"family": "separable", "patch_embedding": -1}, "patch_embedding=-1 is not a whole number"),
        ({"family": "quantized-separable", "channels": 24}, "channels=24 of .*: use 16, 32, ... 256"),
        ({"family": "quantized-separable", "channels": 272}, "channels=272 of .*: use 16, 32, ... 256"),
        ({"time_fold": 3}, "time_fold=3 is not 1 or 2"),
        ({"noise_conditioned": 1}, "noise_conditioned=1 is not true or false"),
        ({"residual_blocks": 2.5}, "residual_blocks=2.5 is not a whole number from 1 to 1024"),
        *[({"channels": value}, f"channels={value} is not a whole") for value in (0, -3, 2.5, True, 100_000)],
    ],
)
def test_what_a_family_does_not_have_is_refused(table, reason):
    with pytest.raises(ValueError, match=reason):
        network_config(table)


def test_a_configuration_of_another_familys_name_is_refused():
    with pytest.raises(ValueError, match="family='separable' is not 'dense'; use network_config"):
        DenseConfig(family="separable")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("config", CONFIGS)
def test_operations_and_halo_are_those_of_the_layers(config):
    """Counted layer by layer; an input at the edge of the halo matters, one beyond does not."""
    network = make_network(config).double()
    macs = 0

    def count(module: torch.nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal macs
        macs += module.weight[0].numel() * output.numel()  # pyright: ignore[reportIndexIssue]

    for name, module in network.named_modules():
        if hasattr(module, "weight") and "patch_embedding" not in name:
            module.register_forward_hook(count)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    size = (6, 9, 9)
    x = torch.zeros(1, 16, *size, dtype=torch.double)
    network(x)
    assert macs == config.macs_per_block * size[0] * size[1] * size[2]
    blocks = -(-config.halo[0] // 2), config.halo[1] // 2
    for axis, reach in ((2, blocks[0]), (3, blocks[1])):
        x = torch.randn(1, 16, *size, dtype=torch.double, requires_grad=True)
        out = network(x).select(axis, 0).sum()
        touched = torch.autograd.grad(out, x)[0].abs().transpose(2, axis).sum((0, 1, 3, 4)) > 0
        assert touched.tolist() == [k <= reach for k in range(len(touched))]


@pytest.mark.parametrize("config", CONFIGS)
def test_a_network_begins_by_proposing_nothing(config):
    logits = make_network(config)(torch.zeros(1, 16, 2, 2, 2))
    assert logits.shape == (1, 24, 2, 2, 2)
    assert (logits < -2).all()


@pytest.mark.parametrize("config", CONFIGS)
def test_noise_features_are_needed_where_configured_and_nowhere_else(config):
    inputs, features = torch.zeros(1, 16, 2, 2, 2), torch.ones(1, 8 * NOISE_FEATURES, 2, 2, 2)
    with pytest.raises(ValueError, match="noise_conditioned=False was given noise features; leave them out"):
        make_network(config)(inputs, features)
    network = make_network(dataclasses.replace(config, noise_conditioned=True))
    with pytest.raises(ValueError, match="noise_conditioned=True was run without noise features"):
        network(inputs)
    torch.nn.init.normal_(network.noise_embedding.weight)  # pyright: ignore
    with torch.inference_mode():
        whole = network(inputs, features)
        assert torch.equal(network.logits(inputs, network.noise_bias(features)), whole)
        assert not torch.equal(network(inputs, 2 * features), whole)


def test_calibration_spans_what_it_is_shown(quantized_network):
    network = quantized_network(1, channels=16)
    x = (torch.rand(8, 16, 2, 3, 3) < 0.3).float()
    x[:, 8:] = 1
    calibrate(network, [(x[:4], None), (x[4:], None)])
    with torch.inference_mode():
        for at, (stream, hidden) in enumerate(network.activations(x)):
            assert (stream.amax((0, 2, 3, 4)) <= network.stream_range).all()
            assert (hidden.amax((0, 2, 3, 4)) >= network.hidden_range[at]).all()
    assert (network.hidden_range > 0).any()
