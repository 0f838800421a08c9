"""Tables of int8: those of float32 but for rounding, whatever the order in which a library adds up."""

import numpy as np
import pytest
import torch

from predecoder.inference import QuantizedTables
from predecoder.inference.exact_tables import exact_first_layer_bias, exact_position_bias
from predecoder.inference.network_tables import first_layer_bias, position_bias
from predecoder.inference.table_layout import cells


@pytest.mark.parametrize("patch_embedding", [0, 6])
@pytest.mark.parametrize("noise_conditioned", [False, True])
def test_they_are_those_in_floating_point_but_for_rounding(
    model, quantized_network, patch_embedding, noise_conditioned
):
    m = model(5, 7, "z", "ZH")
    network = quantized_network(1, patch_embedding=patch_embedding, noise_conditioned=noise_conditioned)
    bias, exact = first_layer_bias(network, m.problem), exact_first_layer_bias(network, m.problem)
    assert exact.dtype == np.float64
    np.testing.assert_allclose(exact, bias, atol=2e-5 * np.abs(bias).max())
    present = cells(m.layout.detector_grid) >= 0
    (table, kind), (exact, exact_kind) = (
        position_bias(network, present),
        exact_position_bias(network, present),
    )
    assert np.array_equal(kind, exact_kind)
    np.testing.assert_allclose(exact, table, atol=2e-5 * np.abs(table).max())


def test_the_order_of_summation_does_not_matter(model, quantized_network, monkeypatch):
    """Another library's order: channels of the inputs backwards."""
    m, network = model(5, 4), quantized_network(2, noise_conditioned=True)
    here = QuantizedTables(m.problem, network).arrays
    convolve = torch.nn.functional.conv3d

    def backwards(x, weight, *, padding):
        return convolve(x.flip(1), weight.flip(1), padding=padding)

    monkeypatch.setattr(torch.nn.functional, "conv3d", backwards)
    there = QuantizedTables(m.problem, network).arrays
    assert all(np.array_equal(here[name], there[name]) for name in here)
