"""What a quantized network adds for a patch and its noise, in the same bits on every machine.

Factors of a convolution are rounded to whole numbers of 21 bits times a power of two, so that float64 holds
all sums of their products exactly: libraries may add them up in any order. What is lost is far below one unit
of the int16 tables that are made of it.

Shape legend: T layers, (I, J) cells of 2 x 2 ancillas, C channels, n planes of a cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from predecoder.inference.layer_kinds import LayerInputs, LayerKinds
from predecoder.inference.network_tables import first_layer_inputs

if TYPE_CHECKING:
    import torch
    from torch import nn

    from predecoder.network import Network, SeparableNetwork

__all__ = ["exact_first_layer_bias", "exact_position_bias"]

_BITS = 21
"""Of a factor: two of them and 11 bits for the number of products, 27 taps of 64 channels, make 53."""


def exact_first_layer_bias(
    network: Network, experiments: Sequence[LayerInputs]
) -> tuple[np.ndarray, LayerKinds]:
    """Compute `first_layer_bias`, as float64 `(kinds, I, J, C)`, and the kinds of layers."""
    parts, kinds = first_layer_inputs(network, experiments)
    total = sum(_convolved(x, convolution, first=first, padding=(0, 1, 1)) for convolution, first, x in parts)
    return np.asarray(total)[:, :, 0].transpose(0, 2, 3, 1), kinds


def exact_position_bias(
    network: SeparableNetwork, experiments: Sequence[LayerInputs]
) -> tuple[np.ndarray, LayerKinds]:
    """Compute `position_bias`: float64 `(blocks, kinds, I, J, C)`, and the kinds of layers."""
    presence = [experiment.present for experiment in experiments]
    biases = np.stack([_values(block.depthwise.bias) for block in network.trunk])  # pyright: ignore
    embedding = network.patch_embedding
    if embedding is None:
        shape = (len(biases), 1, *presence[0].shape[2:], biases.shape[1])
        everywhere = np.broadcast_to(biases[:, None, None, None, :], shape)
        return everywhere, LayerKinds([(0, 0)], [np.zeros(len(layers), np.int32) for layers in presence], 0)
    kinds = LayerKinds.sort(presence, reach=embedding.REACH)
    tables = []
    for number, t in kinds.first:
        low = max(0, t - kinds.reach)
        x = presence[number][low : t + kinds.reach + 1].swapaxes(0, 1)[None].astype(np.float64)
        for convolution in (embedding.first, embedding.second):
            x = np.maximum(_convolved(x, convolution, padding=(1, 1, 1)), 0)
        here = x[:, :, t - low : t - low + 1]
        added = [_convolved(here, convolution)[0, :, 0] for convolution in embedding.position_bias]  # pyright: ignore
        tables.append(biases[:, None, None, :] + np.stack(added).transpose(0, 2, 3, 1))
    return np.stack(tables, axis=1), kinds


def _convolved(
    planes_BnTIJ: np.ndarray,
    convolution: nn.Conv3d,
    *,
    first: int = 0,
    padding: tuple[int, int, int] = (0, 0, 0),
) -> np.ndarray:
    """A convolution of its inputs from `first` on: `(B, n, T, I, J)` -> float64 `(B, C, T', I', J')`."""
    import torch

    x, x_unit = _whole(planes_BnTIJ.astype(np.float64))
    weight, weight_unit = _whole(_values(convolution.weight)[:, first:])
    with torch.inference_mode():
        sums = torch.nn.functional.conv3d(torch.from_numpy(x), torch.from_numpy(weight), padding=padding)
    bias = _values(convolution.bias)  # pyright: ignore[reportArgumentType]
    return sums.numpy() * (x_unit * weight_unit) + bias[:, None, None, None]


def _whole(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Values as whole numbers of at most `_BITS` bits, and the power of two that is their unit."""
    _, exponent = np.frexp(np.abs(values).max(initial=0))
    unit = float(np.ldexp(1.0, int(exponent) - _BITS))
    return np.ascontiguousarray(np.rint(values / unit)), unit


def _values(parameter: torch.Tensor) -> np.ndarray:
    return parameter.detach().cpu().numpy().astype(np.float64)
