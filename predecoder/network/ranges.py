"""What a dense network's activations span, which int8 engines scale them by.

Shape legend: C channels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

__all__ = ["ActivationRanges"]


@dataclass(frozen=True, eq=False)
class ActivationRanges:
    """The least and the largest activations of every channel, float32.

    Attributes:
        stream_low, stream_high: before each block and before the last convolution, `(blocks + 1, C)`.
        hidden_low, hidden_high: between the two convolutions of each block, `(blocks, C)`.
    """

    stream_low: np.ndarray
    stream_high: np.ndarray
    hidden_low: np.ndarray
    hidden_high: np.ndarray

    @classmethod
    def from_tables(cls, tables: Mapping[str, np.ndarray], *, blocks: int, channels: int) -> ActivationRanges:
        """Read what `tables` made.

        Raises:
            ValueError: one is missing, or has another shape.
        """
        shapes = {"stream": (blocks + 1, channels), "hidden": (blocks, channels)}
        found = {}
        for field in dataclasses.fields(cls):
            table, shape = tables.get(field.name), shapes[field.name.partition("_")[0]]
            if table is None or table.shape != shape:
                raise ValueError(f"{field.name} is {None if table is None else table.shape}, not {shape}")
            found[field.name] = table.astype(np.float32)
        return cls(**found)

    def tables(self) -> dict[str, np.ndarray]:
        """The ranges by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
