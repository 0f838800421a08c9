"""Operations carried out by torch: a graph as a module, for `torch.export` and for calibration.

Shape legend as in `predecoder.export.operations`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from predecoder.export.graphs import Graph

__all__ = ["TorchGraph", "TorchOperations"]


class TorchOperations:
    """`Operations` on tensors. Constants are buffers of a module, named as the graph names them."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def constant(self, name: str, value: np.ndarray) -> torch.Tensor:
        name = name.replace(".", "_")
        if not hasattr(self._module, name):
            self._module.register_buffer(name, torch.from_numpy(np.ascontiguousarray(value)))
        return getattr(self._module, name)

    def bits(self, x: torch.Tensor) -> torch.Tensor:
        return x.float()

    def bytes(self, x: torch.Tensor) -> torch.Tensor:
        return x.to(torch.uint8)

    def take(self, x_BN: torch.Tensor, name: str, index: np.ndarray, *, zero: bool = False) -> torch.Tensor:
        padded = functional.pad(x_BN, (0, 1)) if zero else x_BN
        taken = padded.index_select(1, self.constant(name, index.ravel()))
        return taken.unflatten(1, index.shape) if index.ndim > 1 else taken

    def convolution(
        self,
        x_BCTij: torch.Tensor,
        name: str,
        weight: np.ndarray,
        bias: np.ndarray | None,
        *,
        groups: int = 1,
    ) -> torch.Tensor:
        of_channels = None if bias is None else self.constant(f"{name}.bias", bias)
        kernel = self.constant(f"{name}.weight", weight)
        return functional.conv3d(x_BCTij, kernel, of_channels, padding=weight.shape[-1] // 2, groups=groups)

    def gelu(self, x: torch.Tensor) -> torch.Tensor:
        return functional.gelu(x, approximate="tanh")

    def relu(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x)

    def flat(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)

    def add(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y

    def subtract(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x - y

    def multiply(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x * y

    def floor(self, x: torch.Tensor) -> torch.Tensor:
        return torch.floor(x)

    def above(self, x: torch.Tensor, bound: torch.Tensor) -> torch.Tensor:
        return (x > bound).float()

    def below(self, x: torch.Tensor, bound: torch.Tensor) -> torch.Tensor:
        return (x < bound).float()

    def largest(self, x: torch.Tensor, *, keep: bool = False) -> torch.Tensor:
        return x.amax(1, keepdim=keep)

    def total(self, x_BKN: torch.Tensor) -> torch.Tensor:
        return x_BKN.sum(1)

    def joined(self, x_BN: torch.Tensor, y_BK: torch.Tensor) -> torch.Tensor:
        return torch.cat([x_BN, y_BK], dim=1)


class TorchGraph(nn.Module):
    """A graph that torch runs: uint8 0/1 `(B, D)` to the graph's outputs."""

    def __init__(self, graph: Graph) -> None:
        """Copy the tables."""
        super().__init__()
        self._graph = graph
        with torch.inference_mode():  # which makes the buffers
            self(torch.zeros((1, graph.num_detectors), dtype=torch.uint8))

    def forward(self, detections: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """See the class."""
        return self._graph.define(TorchOperations(self), detections)
