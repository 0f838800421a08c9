"""What a quantized network adds for a patch and its noise, in the same bits on every machine.

Factors of a convolution are rounded to whole numbers of 21 bits times a power of two, so that float64 holds
all sums of their products exactly: libraries may add them up in any order. What is lost is far below one unit
of the int16 tables that are made of it.

Shape legend: T layers, (I, J) cells of 2 x 2 ancillas, C channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from predecoder.inference.network_tables import kinds_of_layers
from predecoder.inference.table_layout import DETECTORS, cells
from qec import DecodingProblem

if TYPE_CHECKING:
    import torch
    from torch import nn

    from predecoder.network import SeparableNetwork

__all__ = ["exact_first_layer_bias", "exact_position_bias"]

_BITS = 21
"""Of a factor: two of them and 11 bits for the number of products, 27 taps of 64 channels, make 53."""


def exact_first_layer_bias(network: SeparableNetwork, problem: DecodingProblem) -> np.ndarray:
    """Compute `first_layer_bias`, as float64 `(T, I, J, C)`."""
    present = cells(problem.layout.detector_grid) >= 0
    total = _convolved(present, network.embed, first=DETECTORS)
    if network.noise_embedding is not None:
        features = np.concatenate([cells(grid) for grid in problem.noise_features], axis=1)
        total = total + _convolved(features, network.noise_embedding)
    return total.transpose(0, 2, 3, 1)


def exact_position_bias(network: SeparableNetwork, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute `position_bias`: float64 `(blocks, kinds, I, C, J)`, and the kinds of layers."""
    biases = np.stack([_values(block.depthwise.bias) for block in network.trunk])  # pyright: ignore
    biases = biases[:, None, :, None]
    rows, columns = present.shape[2:]
    embedding = network.patch_embedding
    if embedding is None:
        everywhere = np.broadcast_to(biases, (len(biases), rows, biases.shape[2], columns))
        return everywhere[:, None], np.zeros(len(present), dtype=np.int32)
    reach = embedding.REACH
    first, kind = kinds_of_layers(present, reach=reach)
    tables = []
    for t in first:
        low = max(0, t - reach)
        x = present[low : t + reach + 1]
        for convolution in (embedding.first, embedding.second):
            x = np.maximum(_convolved(x, convolution), 0)
        here = x[t - low : t - low + 1]
        added = [_convolved(here, convolution)[0] for convolution in embedding.position_bias]  # pyright: ignore
        tables.append(biases + np.stack(added).swapaxes(1, 2))
    return np.stack(tables, axis=1), kind


def _convolved(planes: np.ndarray, convolution: nn.Conv3d, *, first: int = 0) -> np.ndarray:
    """A convolution of its inputs from `first` on: `(T, n, I, J)` -> float64 `(T, C, I, J)`."""
    import torch

    x, x_unit = _whole(planes.astype(np.float64).transpose(1, 0, 2, 3)[None])
    weight, weight_unit = _whole(_values(convolution.weight)[:, first:])
    with torch.inference_mode():
        sums = torch.nn.functional.conv3d(
            torch.from_numpy(x), torch.from_numpy(weight), padding=convolution.kernel_size[0] // 2
        )
    bias = _values(convolution.bias)  # pyright: ignore[reportArgumentType]
    return (sums[0].numpy() * (x_unit * weight_unit)).swapaxes(0, 1) + bias[:, None, None]


def _whole(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Values as whole numbers of at most `_BITS` bits, and the power of two that is their unit."""
    _, exponent = np.frexp(np.abs(values).max(initial=0))
    unit = float(np.ldexp(1.0, int(exponent) - _BITS))
    return np.ascontiguousarray(np.rint(values / unit)), unit


def _values(parameter: torch.Tensor) -> np.ndarray:
    return parameter.detach().cpu().numpy().astype(np.float64)
