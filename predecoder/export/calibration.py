"""Scales of int8: what one unit stands for in the input of every convolution that is quantized.

Those of the residual blocks are, but for depthwise ones: these are a tenth of the operations, and few int8
libraries have them in three dimensions. The first layer and the last one stay in float32: they are a
twentieth of the operations, and the last one is half of the error.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from predecoder.export.graphs import Graph
from predecoder.export.torch_operations import TorchGraph, TorchOperations

__all__ = ["calibrated_scales"]

_BINS = 4096
_CANDIDATES = np.linspace(0.2, 1.0, 81)
"""Shares of the largest magnitude from which on values are cut off; the one with the least error is taken."""
_LARGEST = 127


def calibrated_scales(graph: Graph, bits: np.ndarray, *, batch_shots: int) -> dict[str, float]:
    """Find the scales with the least mean square error on some shots.

    Args:
        bits: uint8 0/1 `(shots, detectors)`, of the noise that the graph is for.
        batch_shots: that go through the graph at a time.
    """
    module = TorchGraph(graph)
    magnitudes: dict[str, _Magnitudes] = {}
    with torch.inference_mode():
        for start in range(0, len(bits), batch_shots):
            given = torch.from_numpy(bits[start : start + batch_shots])
            graph.define(_Recording(module, magnitudes), given)
    return {name: seen.scale for name, seen in magnitudes.items()}


@dataclass
class _Magnitudes:
    """A histogram of absolute values, whose range grows with them by factors of two."""

    limit: float = 2.0**-10
    counts: np.ndarray = field(default_factory=lambda: np.zeros(_BINS))

    def add(self, x: torch.Tensor) -> None:
        magnitude = x.abs().flatten()
        largest = float(magnitude.max())
        while self.limit < largest:
            self.counts = np.append(self.counts.reshape(-1, 2).sum(1), np.zeros(_BINS // 2))
            self.limit *= 2
        self.counts += torch.histc(magnitude, _BINS, 0, self.limit).numpy()

    @property
    def scale(self) -> float:
        """Of int8, with the least mean square error."""
        occupied = np.flatnonzero(self.counts)
        if not len(occupied):
            return 1.0
        values = (np.arange(_BINS) + 0.5) * self.limit / _BINS
        values[0] = 0.0  # most are zero, exactly
        scales = values[occupied[-1]] * _CANDIDATES[:, None] / _LARGEST
        rounded = np.minimum(np.rint(values / scales), _LARGEST) * scales
        errors = ((values - rounded) ** 2 * self.counts).sum(1)
        return float(np.float32(scales[errors.argmin(), 0]))


class _Recording(TorchOperations):
    """Operations that look at the inputs of the convolutions to quantize."""

    def __init__(self, module: TorchGraph, magnitudes: dict[str, _Magnitudes]) -> None:
        super().__init__(module)
        self._magnitudes = magnitudes

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
            self._magnitudes.setdefault(name, _Magnitudes()).add(x_BCTij)
        return super().convolution(x_BCTij, name, weight, bias, groups=groups)
