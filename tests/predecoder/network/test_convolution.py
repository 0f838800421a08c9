"""Depthwise convolutions: torch's own results and gradients, and the same bits alone as in a batch."""

import pytest
import torch

from predecoder.network.convolution import DepthwiseConvolution
from predecoder.network import Network, NetworkConfig


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


@pytest.mark.parametrize("time_fold", [1, 2])
def test_operations_and_halo_of_a_separable_network_are_those_of_its_layers(time_fold):
    """Counted layer by layer; an input at the edge of the halo matters, one beyond does not."""
    config = NetworkConfig(channels=8, residual_blocks=2, time_fold=time_fold, separable=True)
    network = Network(config).double()
    macs = 0
    hooks = []

    def count(module: torch.nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal macs
        macs += module.weight[0].numel() * output.numel()  # pyright: ignore[reportIndexIssue]

    for module in network.modules():
        if hasattr(module, "weight"):
            hooks.append(module.register_forward_hook(count))
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
