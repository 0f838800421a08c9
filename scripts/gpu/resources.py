"""Registers and spills of every kernel on every architecture that is served, as NVRTC's assembler says.

    python -m scripts.gpu.resources

No GPU is needed. Ends with code 1 where a kernel needs memory of its own for want of registers.
"""

from __future__ import annotations

import sys

from cuda.qecpipe import KernelResources, kernel_resources
from cuda.qecpipe.compile import KERNELS

__all__ = ["ARCHITECTURES", "main"]

ARCHITECTURES = ("sm_80", "sm_90", "sm_100", "sm_120")


def main() -> int:
    """Print a line for each kernel; returns 1 if any spills or has a stack."""
    print(
        f"{'registers of a thread':28}"
        + "".join(f"{arch:>8}" for arch in ARCHITECTURES)
        + "   spilled, stack"
    )
    spilled = 0
    for source in sorted(path.name for path in KERNELS.glob("*.cu")):
        found = [kernel_resources(source, arch=arch) for arch in ARCHITECTURES]
        for kernel in sorted(found[0]):
            of_each: list[KernelResources] = [of[kernel] for of in found]
            bytes_ = sum(one.spill_bytes for one in of_each), sum(one.stack_bytes for one in of_each)
            spilled += sum(bytes_)
            registers = "".join(f"{one.registers:8}" for one in of_each)
            print(f"{kernel:28}{registers}   {bytes_[0]} B, {bytes_[1]} B")
    return int(spilled > 0)


if __name__ == "__main__":
    sys.exit(main())
