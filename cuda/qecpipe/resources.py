"""What a kernel needs of a GPU, as the assembler reports it when it compiles: no GPU needed."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

from cuda.qecpipe.compile import KernelBuildError, compile_cubin_text, kernel_source

__all__ = ["KernelResources", "kernel_resources"]

_ENTRY = re.compile(
    r"Compiling entry function '(?P<name>\w+)'"
    r".*?(?P<stack>\d+) bytes stack frame"
    r", (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads"
    r".*?Used (?P<registers>\d+) registers",
    flags=re.DOTALL,
)


@dataclass(frozen=True)
class KernelResources:
    """Of one thread.

    Attributes:
        registers: 32-bit registers; a multiprocessor has 65,536 for all its threads.
        stack_bytes: of local memory, which is in the GPU's main memory.
        spill_bytes: stored to and loaded from it for want of registers.
    """

    registers: int
    stack_bytes: int
    spill_bytes: int


def kernel_resources(source: str, *, arch: str) -> dict[str, KernelResources]:
    """Every kernel of `kernels/<source>` with what it needs on one architecture.

    Raises:
        ValueError: `source` is not one of ours.
        KernelBuildError: it does not compile, or the assembler reports nothing that can be read.
    """
    report, path = io.StringIO(), kernel_source(source)
    compile_cubin_text(path.read_text(encoding="utf-8"), name=source, arch=arch, report=report)
    found = {
        entry["name"]: KernelResources(
            registers=int(entry["registers"]),
            stack_bytes=int(entry["stack"]),
            spill_bytes=int(entry["stores"]) + int(entry["loads"]),
        )
        for entry in _ENTRY.finditer(report.getvalue())
    }
    if not found:
        raise KernelBuildError(f"no kernel is reported for {source} and {arch}:\n{report.getvalue()}")
    return found
