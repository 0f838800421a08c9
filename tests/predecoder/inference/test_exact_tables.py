"""Tables of int8: those of float32 but for rounding, whatever the order in which a library adds up."""

import numpy as np
import pytest
import torch

from predecoder.inference import LayerInputs, QuantizedTables
from predecoder.inference.exact_tables import exact_first_layer_bias, exact_position_bias
from predecoder.inference.network_tables import first_layer_bias, position_bias


@pytest.mark.parametrize("patch_embedding", [0, 6])
@pytest.mark.parametrize("noise_conditioned", [False, True])
def test_they_are_those_in_floating_point_but_for_rounding(
    model, quantized_network, patch_embedding, noise_conditioned
):
    m = model(5, 7, "z", "ZH")
    network = quantized_network(1, patch_embedding=patch_embedding, noise_conditioned=noise_conditioned)
    inputs = [LayerInputs.of_problem(m.problem, noise_conditioned=noise_conditioned)]
    for tables, exact_tables in (
        (first_layer_bias, exact_first_layer_bias),
        (position_bias, exact_position_bias),
    ):
        (table, kinds), (exact, exact_kinds) = tables(network, inputs), exact_tables(network, inputs)
        assert exact.dtype == np.float64
        assert np.array_equal(kinds.of[0], exact_kinds.of[0])
        np.testing.assert_allclose(exact, table, atol=2e-5 * np.abs(table).max())


def test_biases_of_the_first_layer_are_those_of_one_convolution_of_the_whole_volume(model, separable_network):
    m, network = model(5, 9, "z", "ZH"), separable_network(1, noise_conditioned=True)
    inputs = LayerInputs.of_problem(m.problem, noise_conditioned=True)
    table, kinds = first_layer_bias(network, [inputs])
    planes = [inputs.present.astype(np.float32), inputs.features]
    x, features = (torch.from_numpy(p.swapaxes(0, 1).copy())[None] for p in planes)
    with torch.inference_mode():
        silent = torch.cat([torch.zeros_like(x), x], dim=1)
        whole = (network.embed(silent) + network.noise_embedding(features))[0].permute(1, 2, 3, 0).numpy()
    assert len(table) < len(whole)
    np.testing.assert_allclose(table[kinds.of[0]], whole, atol=2e-5 * np.abs(whole).max())


def test_the_order_of_summation_does_not_matter(model, quantized_network, monkeypatch):
    """Another library's order: channels of the inputs backwards."""
    m, network = model(5, 4), quantized_network(2, noise_conditioned=True)
    inputs = [LayerInputs.of_problem(m.problem, noise_conditioned=True)]
    here = QuantizedTables(network, inputs).arrays
    convolve = torch.nn.functional.conv3d

    def backwards(x, weight, *, padding):
        return convolve(x.flip(1), weight.flip(1), padding=padding)

    monkeypatch.setattr(torch.nn.functional, "conv3d", backwards)
    there = QuantizedTables(network, inputs).arrays
    assert all(np.array_equal(here[name], there[name]) for name in here)
