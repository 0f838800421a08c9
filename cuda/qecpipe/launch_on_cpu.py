"""Run a kernel on the CPU: the same source, compiled as C++ into the extension `_qecpipe`.

What differs from a GPU is the order of the threads and the machine code, not the arithmetic or the
addressing.
"""

from __future__ import annotations

import _qecpipe
from cuda.qecpipe.launch import KernelArgument

__all__ = ["launch_on_cpu"]


def launch_on_cpu(
    entry: str, *, grid: int, block: int, arguments: tuple[KernelArgument, ...], backwards: bool = False
) -> None:
    """Run every thread of a one-dimensional grid, one after another.

    Args:
        entry: name of the kernel.
        grid: number of blocks.
        block: threads in each.
        arguments: in the order of its signature, as of a `Launch`; pointers are addresses of host
            memory, and what they point to has to be as large as the kernel takes it to be.
        backwards: run the last thread first. The results are the same.

    Raises:
        ValueError: no such kernel, other arguments than it takes, or `grid` or `block` is not positive.
    """
    if grid < 1 or block < 1:
        raise ValueError(f"a launch needs at least one block and one thread, not {grid=} {block=}")
    _qecpipe.run_kernel(entry, list(arguments), grid=grid, block=block, backwards=backwards)
