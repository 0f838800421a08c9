"""A graph for int8: its tables made easy to round, and what one unit stands for at each rounded input.

The convolutions of the residual blocks are quantized, but for depthwise ones: these are a tenth of the
operations, and few int8 libraries have them in three dimensions. The first layer and the last one stay in
float32: they are a twentieth of the operations, and the last one is half of the error.

Inputs of a convolution share one scale. After a ReLU their channels are first made alike, half way, by gains
that go into the weights on either side; and they are centred: their sign would tell nothing.
"""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import numpy as np
import torch

from predecoder.export.graphs import Graph, JoinedGraph, LogitsGraph, ResidualGraph
from predecoder.export.onnx_operations import LARGEST, weight_scales
from predecoder.export.tables import BlockTables, NetworkTables
from predecoder.export.torch_operations import TorchGraph, TorchOperations

__all__ = ["quantized"]

_SAMPLES = 16_384
"""Places of the grid, of all shots, at which inputs are looked at."""
_CUTS = np.linspace(0.2, 1.0, 33)
"""Shares of a range beyond which values are cut off; the one with the least square error is taken."""
_ALIKE = 0.5
"""Power of a channel's range that its gain divides by: 1 would make all inputs alike, but no weights."""

AnyGraph = TypeVar("AnyGraph", bound=Graph)


def quantized(graph: AnyGraph, bits: np.ndarray, *, batch_shots: int) -> tuple[AnyGraph, dict[str, float]]:
    """Return an equal graph that loses less by int8, and the scale of each convolution's input, by name.

    Args:
        bits: uint8 0/1 `(shots, detectors)`, of the noise that the graph is for.
        batch_shots: that go through the graph at a time.
    """
    inputs = _inputs(graph, bits, batch_shots)
    network, scales = _network(graph), {}
    blocks = []
    for number, block in enumerate(network.blocks):
        spatial, pointwise = (f"network.trunk.{number}.{name}" for name in ("spatial", "pointwise"))
        if block.groups == 1:
            scales[spatial] = _scale(inputs[spatial].ravel())
        if network.relu:
            block, inputs[pointwise] = _centred(block, inputs[pointwise])
        scales[pointwise] = _scale(inputs[pointwise].ravel())
        blocks.append(block)
    return _with_network(graph, dataclasses.replace(network, blocks=tuple(blocks))), scales


def _centred(block: BlockTables, hidden_CN: np.ndarray) -> tuple[BlockTables, np.ndarray]:
    """The block with gains and a centre for what its pointwise convolution gets, and that."""
    half = np.array([_cut(values, signed=False) for values in hidden_CN]) / 2
    half = np.where(half > 0, half, 1.0)
    gain = half**-_ALIKE / np.mean(half**-_ALIKE)
    shape, of_channels = (1, -1, 1, 1, 1), block.spatial_bias.ndim == 1
    scaled = (block.pointwise / gain.reshape(shape)).astype(np.float32)
    unit = weight_scales(scaled).reshape(-1, 1, 1, 1, 1)
    rounded = (np.clip(np.rint(scaled / unit), -LARGEST, LARGEST) * unit).astype(np.float32)
    centre = (half * gain).astype(np.float32)
    made = dataclasses.replace(
        block,
        spatial=(block.spatial * gain.reshape(-1, 1, 1, 1, 1)).astype(np.float32),
        spatial_bias=(block.spatial_bias * (gain if of_channels else gain.reshape(shape))).astype(np.float32),
        centre=centre.reshape(shape),
        pointwise=rounded,
        pointwise_bias=block.pointwise_bias + rounded[..., 0, 0, 0] @ centre,
    )
    return made, hidden_CN * gain[:, None] - centre[:, None]


def _scale(values: np.ndarray) -> float:
    return float(np.float32(_cut(np.abs(values), signed=True) / LARGEST)) or 1.0


def _cut(values: np.ndarray, *, signed: bool) -> float:
    """Where to cut off magnitudes: that of least square error; signed ones have half as many steps."""
    steps = LARGEST if signed else 2 * LARGEST
    cuts = float(values.max(initial=0.0)) * _CUTS
    if not cuts[-1]:
        return 0.0
    sample = values[:: max(1, len(values) // 65_536)]
    errors = []
    for cut in cuts:
        unit = cut / steps
        errors.append(float(((np.minimum(np.rint(sample / unit), steps) * unit - sample) ** 2).sum()))
    return float(cuts[int(np.argmin(errors))])


def _inputs(graph: Graph, bits: np.ndarray, batch_shots: int) -> dict[str, np.ndarray]:
    """Of each convolution of the trunk: float32 `(C, places)`, what it gets at some places of the grid."""
    module, seen = TorchGraph(graph), dict[str, list[np.ndarray]]()
    starts = range(0, len(bits), batch_shots)
    with torch.inference_mode():
        for start in starts:
            given = torch.from_numpy(bits[start : start + batch_shots])
            graph.define(_Recording(module, seen, _SAMPLES // len(starts)), given)
    return {name: np.concatenate(parts, axis=1) for name, parts in seen.items()}


class _Recording(TorchOperations):
    """Operations that keep some of what convolutions get."""

    def __init__(self, module: TorchGraph, seen: dict[str, list[np.ndarray]], places: int) -> None:
        super().__init__(module)
        self._seen, self._places = seen, places

    def convolution(
        self,
        x_BCTij: torch.Tensor,
        name: str,
        weight: np.ndarray,
        bias: np.ndarray | None,
        *,
        groups: int = 1,
    ) -> torch.Tensor:
        if groups == 1 and name.startswith("network.trunk"):
            flat = x_BCTij.transpose(0, 1).flatten(1)
            # An odd stride, so that all columns of the grid are seen.
            kept = flat[:, :: max(1, flat.shape[1] // max(1, self._places)) | 1]
            self._seen.setdefault(name, []).append(kept.numpy())
        return super().convolution(x_BCTij, name, weight, bias, groups=groups)


def _network(graph: Graph) -> NetworkTables:
    if isinstance(graph, JoinedGraph):
        return graph.residual.network
    assert isinstance(graph, LogitsGraph | ResidualGraph)
    return graph.network


def _with_network(graph: AnyGraph, network: NetworkTables) -> AnyGraph:
    if isinstance(graph, JoinedGraph):
        return dataclasses.replace(graph, residual=dataclasses.replace(graph.residual, network=network))
    return dataclasses.replace(graph, network=network)  # pyright: ignore
