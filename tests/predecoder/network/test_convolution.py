"""Depthwise convolutions: torch's own results and gradients, and the same bits alone as in a batch."""

import itertools

import numpy as np
import pytest
import torch

import _qecpipe
from predecoder.network.convolution import DepthwiseConvolution


@pytest.mark.parametrize("channels", [6, 16])
def test_a_stencil_has_the_results_and_gradients_of_torch(channels):
    """In C++ for 16 channels."""
    torch.manual_seed(1)
    convolution = DepthwiseConvolution(channels)
    x = torch.randn(3, channels, 4, 5, 2).to(memory_format=torch.channels_last_3d).requires_grad_()
    weights = torch.randn(3, channels, 4, 5, 2)

    def gradients(y: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad((y * weights).sum(), [x, *convolution.parameters()]))

    reference = torch.nn.functional.conv3d(
        x, convolution.weight, convolution.bias, padding=1, groups=channels
    )
    result = convolution(x)
    torch.testing.assert_close(result, reference)
    for got, expected in zip(gradients(result), gradients(reference), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("instruction_set", _qecpipe.instruction_sets())
def test_gradients_to_stencils_with_every_instruction_set(instruction_set):
    rng = np.random.default_rng(1)
    x, gradient = rng.normal(size=(2, 3, 4, 3, 2, 8)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (1, 1), (0, 0)))
    expected = [
        (padded[:, dt : dt + 4, di : di + 3, dj : dj + 2] * gradient).sum((0, 1, 2, 3))
        for dt, di, dj in itertools.product(range(3), repeat=3)
    ]
    got = _qecpipe.gradient_to_stencils(x, gradient, instruction_set=instruction_set)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_stencils_of_a_number_of_channels_that_fills_no_vector_are_refused():
    x = np.zeros((1, 1, 1, 1, 12), dtype=np.float32)
    with pytest.raises(ValueError, match="12 channels are not a multiple of 8"):
        _qecpipe.gradient_to_stencils(x, x)


def test_a_separable_network_gives_a_shot_alone_the_bits_it_has_in_a_batch(separable_network):
    network = separable_network(2)
    x = torch.randn(9, 16, 3, 2, 4)
    x[:, 8:] = x[:1, 8:]  # one patch
    with torch.inference_mode():
        together, single = network(x), torch.cat([network(shot[None]) for shot in x])
    assert torch.equal(together, single)
