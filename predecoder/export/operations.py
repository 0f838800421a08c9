"""The few operations that exported graphs are made of, whatever carries them out or writes them down.

A graph is defined once (`predecoder.export.graphs`) on `Operations`. torch carries them out, and by
`torch.export` keeps them; the ONNX writer makes a node of each. Their values are opaque here.

Shape legend: B shots, N and K any, C channels in and o out, (T, i, j) cells.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

__all__ = ["Operations"]


class Operations(Protocol):
    """What a graph may compute. Values have the shots first; a graph is for any number of them."""

    def constant(self, name: str, value: np.ndarray) -> Any:
        """Hold an array that is the same for all shots, under a name of its own."""
        ...

    def bits(self, x: Any) -> Any:
        """Cast uint8 to float32."""
        ...

    def bytes(self, x: Any) -> Any:
        """Cast float32 0/1 to uint8."""
        ...

    def take(self, x_BN: Any, name: str, index: np.ndarray, *, zero: bool = False) -> Any:
        """Elements by index, int64 of any shape S: `(B, *S)`; with `zero`, number N reads 0."""
        ...

    def convolution(
        self, x_BCTij: Any, name: str, weight: np.ndarray, bias: np.ndarray | None, *, groups: int = 1
    ) -> Any:
        """A convolution that keeps the shape, of weights `(o, C / groups, k, k, k)`: `(B, o, T, i, j)`."""
        ...

    def gelu(self, x: Any) -> Any:
        """Its tanh approximation."""
        ...

    def relu(self, x: Any) -> Any: ...

    def flat(self, x: Any) -> Any:
        """All axes but the shots as one."""
        ...

    def add(self, x: Any, y: Any) -> Any: ...

    def subtract(self, x: Any, y: Any) -> Any: ...

    def multiply(self, x: Any, y: Any) -> Any: ...

    def floor(self, x: Any) -> Any: ...

    def above(self, x: Any, bound: Any) -> Any:
        """Whether x > bound, float32 0/1."""
        ...

    def below(self, x: Any, bound: Any) -> Any:
        """Whether x < bound, float32 0/1."""
        ...

    def largest(self, x: Any, *, keep: bool = False) -> Any:
        """Maximum over the axis after the shots, which goes, or is kept with one element."""
        ...

    def total(self, x_BKN: Any) -> Any:
        """Sum over the axis after the shots."""
        ...

    def joined(self, x_BN: Any, y_BK: Any) -> Any:
        """One after the other: `(B, N + K)`."""
        ...
