"""A kernel's launch: which kernel, on how many threads, with which arguments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["KernelArgument", "Launch"]

KernelArgument = int | np.int64 | np.float32
"""What a kernel is given: a Python int is passed as a pointer, `np.int64` and `np.float32` as themselves."""


@dataclass(frozen=True)
class Launch:
    """Entry `entry` of `kernels/<source>`, blocks, threads of each, and arguments in the entry's order."""

    source: str
    entry: str
    grid: int
    block: int
    arguments: tuple[KernelArgument, ...]

    def __post_init__(self) -> None:
        if self.grid < 1 or self.block < 1:
            raise ValueError(
                f"a launch needs at least one block and one thread, not grid={self.grid} block={self.block}"
            )
