"""3-D convolutions that keep the shape, with the same bits alone, in a batch and in a tile.

Shape legend: B shots, C channels, (t, i, j) cells.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import _qecpipe

__all__ = ["Convolution", "DepthwiseConvolution"]


class Convolution(nn.Conv3d):
    """A dense convolution of `(B, C, t, i, j)`, or of `(B, C, i, j, t)` where asked.

    torch sends single float32 shots on a CPU to another algorithm than batches: it rounds
    differently and takes three times as long. oneDNN's loops in bfloat16 run along the last axis, and are
    faster with time there, which is longer than the sides of a patch.
    """

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__(inputs, outputs, size, padding=size // 2)

    def forward(self, input: torch.Tensor, *, time_last: bool = False) -> torch.Tensor:
        weight = self.weight.permute(0, 1, 3, 4, 2) if time_last else self.weight
        padding = [k // 2 for k in self.kernel_size]
        if _is_cpu_float16(input):
            return _rounded_once(input, weight, self.bias, padding=padding)
        if _is_onednn(input):
            ones = [1, 1, 1]
            return torch.mkldnn_convolution(input, weight, self.bias, padding, ones, ones, 1)
        if _is_cpu_bfloat16(input) and input.shape[2] == 2 and padding[0]:
            # oneDNN leaves most of the gradient to such a kernel unwritten where the first axis has exactly
            # two places: what the memory held before comes out, 1e16 times too large or NaN. Zeros behind
            # them change no output.
            longer = nn.functional.pad(input, (0, 0, 0, 0, 0, 1))
            return nn.functional.conv3d(longer, weight, self.bias, padding=padding)[:, :, :2]
        return nn.functional.conv3d(input, weight, self.bias, padding=padding)


class DepthwiseConvolution(nn.Module):
    """A 3 x 3 x 3 stencil of its own for every channel: `(B, C, t, i, j)` to the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, 1, 3, 3, 3) / 27**0.5)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x_BCtij: torch.Tensor) -> torch.Tensor:
        if _is_onednn(x_BCtij):
            bias = self.bias[:, None, None, None]
            return _Stencil.apply(x_BCtij, self.weight) + bias  # pyright: ignore[reportOperatorIssue]
        groups = len(self.weight)
        if _is_cpu_float16(x_BCtij):
            return _rounded_once(x_BCtij, self.weight, self.bias, padding=[1, 1, 1], groups=groups)
        return nn.functional.conv3d(x_BCtij, self.weight, self.bias, padding=1, groups=groups)


def _is_onednn(x: torch.Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()
    )


def _is_cpu_bfloat16(x: torch.Tensor) -> bool:
    cast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return x.device.type == "cpu" and (cast or x.dtype == torch.bfloat16)


def _is_cpu_float16(x: torch.Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float16


def _rounded_once(
    x_BCtij: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    *,
    padding: list[int],
    groups: int = 1,
) -> torch.Tensor:
    """A convolution in float16 as GPUs do it, on a CPU: products are exact, their sums float32.

    torch's own takes some hundred times as long where the processor does not multiply such numbers.
    """
    of_channels = None if bias is None else bias.float()
    sums = nn.functional.conv3d(x_BCtij.float(), weight.float(), of_channels, padding=padding, groups=groups)
    return sums.to(torch.float16)


def _stencil(x_BCtij: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    ones = [1, 1, 1]
    return torch.mkldnn_convolution(x_BCtij, weight, None, ones, ones, ones, len(weight))


class _Stencil(torch.autograd.Function):
    """A depthwise convolution whose gradients are far faster on a CPU than torch's own."""

    @staticmethod
    def forward(ctx: Any, x_BCtij: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(x_BCtij, weight)
        return _stencil(x_BCtij, weight)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last_3d)
        to_input = _stencil(gradient, weight.flip(2, 3, 4))
        to_weight = _gradient_to_weight(x.permute(0, 2, 3, 4, 1), gradient.permute(0, 2, 3, 4, 1))
        return to_input, to_weight.T.reshape(weight.shape)


def _gradient_to_weight(x_BtijC: torch.Tensor, gradient_BtijC: torch.Tensor) -> torch.Tensor:
    """`(27, C)`."""
    if x_BtijC.shape[-1] % 8 == 0:
        return torch.from_numpy(_qecpipe.gradient_to_stencils(x_BtijC.numpy(), gradient_BtijC.numpy()))
    _, t, i, j, channels = x_BtijC.shape
    padded = nn.functional.pad(x_BtijC, (0, 0, 1, 1, 1, 1, 1, 1))
    result = torch.empty((27, channels), dtype=x_BtijC.dtype)
    for tap in range(27):
        dt, di, dj = tap // 9, tap // 3 % 3, tap % 3
        near = padded[:, dt : dt + t, di : di + i, dj : dj + j]
        result[tap] = (near * gradient_BtijC).sum((0, 1, 2, 3))
    return result
