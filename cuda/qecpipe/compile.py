"""Compile a kernel source for a named GPU architecture with NVRTC; no GPU and no driver needed."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TextIO

KERNELS = Path(__file__).with_name("kernels")
"""Folder of the `.cu` sources and their header, installed with the package."""

_ARCH = re.compile(r"sm_\d{2,3}[af]?")


class KernelBuildError(RuntimeError):
    """A kernel did not compile; the message names source and target and holds the compiler's log."""


def kernel_source(name: str) -> Path:
    """Path of a kernel source of this package; `ValueError` for a name it does not have."""
    path = KERNELS / name
    if path.parent != KERNELS or path.suffix != ".cu" or not path.is_file():
        known = ", ".join(sorted(p.name for p in KERNELS.glob("*.cu")))
        raise ValueError(f"no kernel source named {name!r}; this package has: {known}")
    return path


@functools.lru_cache(maxsize=64)
def compile_cubin(source: str, *, arch: str) -> bytes:
    """Machine code (a cubin, an ELF image) of `kernels/<source>` for one architecture.

    Compiled once per process for each `(source, arch)`.

    Args:
        source: file name of the kernel, such as `"blocked_input.cu"`.
        arch: `"sm_80"`, `"sm_90"`, `"sm_100"`, ...: the real architecture of the device to run on.

    Raises:
        ValueError: `source` is not one of ours, or `arch` is not of the form `sm_NN`.
        KernelBuildError: the compiler is not installed, or rejected the source or the architecture.
    """
    if not _ARCH.fullmatch(arch):
        raise ValueError(f"arch={arch!r} is not a GPU architecture; write it like 'sm_90'")
    path = kernel_source(source)
    return compile_cubin_text(path.read_text(encoding="utf-8"), name=path.name, arch=arch)


def compile_cubin_text(text: str, *, name: str, arch: str, report: TextIO | None = None) -> bytes:
    """As `compile_cubin`, for CUDA C++ given as text; `name` stands for it in messages.

    `#include "portable.h"` finds the header of this package. `report` gets the assembler's account of
    registers and memory (`kernel_resources` reads it).
    """
    try:
        # cuda.core fills its namespace when imported, which type checkers cannot follow.
        from cuda.core import Program, ProgramOptions  # pyright: ignore[reportAttributeAccessIssue]

        # cuda.core raises this type on a failed compilation but does not export it.
        from cuda.core._utils.cuda_utils import CUDAError
        from cuda.pathfinder import DynamicLibNotFoundError
    except ImportError as error:
        raise KernelBuildError(
            f"cannot compile {name} for {arch}: {error}; run: pip install cuda-core cuda-python"
        ) from error
    # A cubin rather than PTX: cuda.core asks the driver for its version before it makes PTX, which
    # fails on a machine without one, and NVRTC's PTX needs a driver as new as NVRTC itself.
    options = ProgramOptions(
        name=name,
        arch=arch,
        std="c++17",
        include_path=str(KERNELS),
        ptxas_options=["-v"] if report is not None else None,
    )
    try:
        code = Program(text, "c++", options).compile("cubin", logs=report).code
    except DynamicLibNotFoundError as error:
        raise KernelBuildError(
            f"cannot compile {name} for {arch}: NVRTC was not found; run: pip install nvidia-cuda-nvrtc"
        ) from error
    except CUDAError as error:
        raise KernelBuildError(f"NVRTC could not compile {name} for {arch}:\n{error}") from error
    if not isinstance(code, bytes):
        raise KernelBuildError(f"NVRTC gave no cubin for {name} and {arch}, but {type(code).__name__}")
    return code
