"""Depthwise convolutions: torch's own results and gradients, and the same bits alone as in a batch."""

import pytest
import torch

from predecoder.network.convolution import DepthwiseConvolution


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("channels", [6, 16])
def test_a_stencil_has_the_results_and_gradients_of_torch(channels, native, monkeypatch):
    """In C++ for 16 channels, where that may be."""
    if not native:
        monkeypatch.setattr("predecoder.network.convolution._native_gradient", lambda: None)
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


def test_a_separable_network_gives_a_shot_alone_the_bits_it_has_in_a_batch(separable_network):
    network = separable_network(2)
    x = torch.randn(9, 16, 3, 2, 4)
    x[:, 8:] = x[:1, 8:]  # one patch
    with torch.inference_mode():
        together, single = network(x), torch.cat([network(shot[None]) for shot in x])
    assert torch.equal(together, single)
