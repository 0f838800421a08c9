"""Muon for convolutions: momentum, orthogonalised per layer.

`torch.optim.Muon` takes two-dimensional parameters only and iterates in bfloat16, which is slow on
a CPU without AMX; a convolution here is the matrix of its outputs by (inputs x kernel).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

__all__ = ["Muon"]

_QUINTIC = (3.4445, -4.7750, 2.0315)
"""Newton-Schulz coefficients that push singular values into [0.7, 1.2] in five steps (Jordan 2024)."""


class Muon(torch.optim.Optimizer):
    """Nesterov momentum whose update has all singular values near one, scaled to AdamW's size."""

    def __init__(
        self,
        params: Iterable[torch.nn.Parameter],
        *,
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Updates every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                buffer = state["momentum"].mul_(group["momentum"]).add_(parameter.grad)
                direction = parameter.grad + group["momentum"] * buffer
                matrix = direction.reshape(direction.shape[0], -1)
                scale = 0.2 * max(matrix.shape) ** 0.5 * max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
                update = _orthogonalised(matrix).reshape(parameter.shape)
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update, alpha=-group["lr"] * scale)


def _orthogonalised(matrix: torch.Tensor, *, iterations: int = 5) -> torch.Tensor:
    a, b, c = _QUINTIC
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.T
    x = x / (x.norm() + 1e-7)
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide else x.T
