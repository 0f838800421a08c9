"""Build the kernels for the CPU with a C++ compiler, and run them: how they are tested without a GPU.

The library is the same `.cu` source, so what differs from a GPU run is the order of the threads and
the machine code, not the arithmetic or the addressing.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np

from cuda.qecpipe.blocked_input import ElementType, kernel_entry
from cuda.qecpipe.compile import KernelBuildError, kernel_source

COMPILERS = ("g++", "clang++")
_FLAGS = ("-x", "c++", "-std=c++17", "-O2", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror")


class CompilerMissingError(KernelBuildError):
    """No C++ compiler was found on the PATH."""


def find_compiler() -> str:
    """Path of the first of `COMPILERS` found; `CompilerMissingError` where there is none."""
    for name in COMPILERS:
        path = shutil.which(name)
        if path is not None:
            return path
    raise CompilerMissingError(
        f"no C++ compiler ({' or '.join(COMPILERS)}) on the PATH; install one, such as: apt install g++"
    )


def build_library(source: str, folder: Path) -> Path:
    """Compile `kernels/<source>` into a shared library in `folder` (which exists) and return its path.

    Raises:
        ValueError: `source` is not a kernel of this package.
        CompilerMissingError: there is no compiler.
        KernelBuildError: it rejected the source; the message holds its output.
    """
    path = kernel_source(source)
    library = folder / f"{path.stem}.so"
    command = [find_compiler(), *_FLAGS, "-o", str(library), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise KernelBuildError(f"{command[0]} could not compile {path.name} for the CPU:\n{done.stderr}")
    return library


def run_kernel(library: ctypes.CDLL, entry: str, *, grid: int, block: int, parameters: int) -> None:
    """Run every thread of a one-dimensional grid, in order.

    Args:
        library: a loaded library of `build_library`.
        entry: name of the kernel.
        grid: number of blocks; `block`: threads in each.
        parameters: address of an array of pointers to the kernel's arguments, as for cuLaunchKernel.
    """
    run = getattr(library, f"{entry}_host")
    run.restype = None
    run.argtypes = [ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p]
    run(grid, block, parameters)


def blocked_input_on_cpu(
    library: ctypes.CDLL,
    packed: np.ndarray,
    source: np.ndarray,
    *,
    n_detectors: int,
    dtype: ElementType,
    grid: int,
    block: int,
) -> np.ndarray:
    """The kernel of `blocked_input.cu`, run on the CPU: what `blocked_input_reference` defines.

    Args:
        library: `build_library("blocked_input.cu", ...)`, loaded.
        packed: uint8 (S, NB) little-endian bits; `source`: int32 (8, T, I, J).
        grid, block: launch shape; the result does not depend on it.

    Returns:
        Unsigned integers of the element's width, (S, T, I, J, 16): the elements' bit patterns.
    """
    packed, source = np.ascontiguousarray(packed), np.ascontiguousarray(source)
    words = {"float32": np.uint32, "float16": np.uint16, "bfloat16": np.uint16, "uint8": np.uint8}
    out = np.empty((len(packed), *source.shape[1:], 16), dtype=words[dtype])
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (packed, source, out)]
    sizes = [ctypes.c_int64(n) for n in (*packed.shape, source[0].size, n_detectors)]
    arguments = [*pointers, *sizes]
    parameters = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(a) for a in arguments))
    run_kernel(library, kernel_entry(dtype), grid=grid, block=block, parameters=ctypes.addressof(parameters))
    return out
