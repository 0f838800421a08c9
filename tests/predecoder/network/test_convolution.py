"""Convolutions: torch's own results and gradients, and the same bits alone as in a batch."""

import itertools

import numpy as np
import pytest
import torch

import _qecpipe
from predecoder.network.convolution import Convolution, DepthwiseConvolution


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


@pytest.mark.parametrize("groups", [1, 16])
def test_float16_on_a_cpu_has_exact_products_and_is_rounded_once(groups):
    """Of sums in double the nearest float16, or the one beside it where float32's own rounding decides."""
    torch.manual_seed(groups)
    convolution = Convolution(16, 24, 3) if groups == 1 else DepthwiseConvolution(16)
    convolution.half()
    x = torch.randn(3, 16, 4, 5, 2).half().to(memory_format=torch.channels_last_3d)
    with torch.no_grad():
        result = convolution(x)
        weight, bias = (values.double() for values in convolution.state_dict().values())
        exact = torch.nn.functional.conv3d(x.double(), weight, bias, padding=1, groups=groups)  # pyright: ignore
    assert result.dtype == torch.float16
    off = (result.view(torch.int16).int() - exact.half().view(torch.int16).int()).abs()
    small = exact.abs() < 1e-2  # of either sign, or made of what cancels
    assert off[~small].max() <= 1
    assert (off[~small] > 0).float().mean() < 1e-2


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


@pytest.mark.parametrize("time_last", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 3])
def test_gradients_in_bfloat16_are_those_in_double(kernel, size, time_last):
    """Two places along the first axis are what oneDNN alone gets wrong, whatever the others are."""
    torch.manual_seed(kernel)
    convolution = Convolution(16, 24, kernel)
    x = torch.randn(5, 16, size, 4, 3).to(memory_format=torch.channels_last_3d).requires_grad_()
    weights = torch.randn(5, 24, size, 4, 3)

    def gradients(y: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad((y * weights.to(y.dtype)).sum(), [x, *convolution.parameters()]))

    exact = [p.double() for p in (convolution.weight, convolution.bias) if p is not None]
    kernels = exact[0].permute(0, 1, 3, 4, 2) if time_last else exact[0]
    reference = torch.nn.functional.conv3d(x.double(), kernels, exact[1], padding=kernel // 2)
    with torch.autocast("cpu", torch.bfloat16):
        result = convolution(x, time_last=time_last)
    assert result.dtype == torch.bfloat16
    for got, expected in zip(gradients(result), gradients(reference), strict=True):
        torch.testing.assert_close(got, expected, rtol=0.02, atol=0.02 * float(expected.abs().max()))


def test_a_convolution_with_time_last_is_the_same(random_network):
    torch.manual_seed(2)
    convolution = Convolution(8, 12, 3)
    x = torch.randn(3, 8, 4, 2, 5)
    with torch.no_grad():
        last = convolution(x.permute(0, 1, 3, 4, 2), time_last=True).permute(0, 1, 4, 2, 3)
        torch.testing.assert_close(last, convolution(x))


def test_a_separable_network_gives_a_shot_alone_the_bits_it_has_in_a_batch(separable_network):
    network = separable_network(2)
    x = torch.randn(9, 16, 3, 2, 4)
    x[:, 8:] = x[:1, 8:]  # one patch
    with torch.inference_mode():
        together, single = network(x), torch.cat([network(shot[None]) for shot in x])
    assert torch.equal(together, single)
