"""Compiled kernels in the user's cache folder: a process compiles only what none has compiled before.

An entry's name has the hash of all that its code depends on: source, headers, architecture, options and the
compiler's version, so that a changed kernel is never taken for an old one.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import tempfile
from pathlib import Path

from cuda.qecpipe.compile import KERNELS, compile_cubin, kernel_source

__all__ = ["cached_cubin"]

logger = logging.getLogger(__name__)
_ELF = b"\x7fELF"


@functools.lru_cache(maxsize=64)
def cached_cubin(source: str, *, arch: str, folder: Path | None = None) -> bytes:
    """The machine code of `compile_cubin`, from a folder where it is there.

    Args:
        source: file name of the kernel.
        arch: such as `"sm_90"`.
        folder: by default ~/.cache/qecpipe/kernels. Where it cannot be written, the log says so and nothing
            is kept.

    Raises:
        ValueError, KernelBuildError: see `compile_cubin`.
    """
    folder = folder or Path.home() / ".cache" / "qecpipe" / "kernels"
    path = folder / f"{Path(source).stem}-{arch}-{_digest(source, arch)}.cubin"
    try:
        found = path.read_bytes()
    except OSError:
        found = b""
    if found.startswith(_ELF):
        return found
    made = compile_cubin(source, arch=arch)
    try:
        _write(path, made)
    except OSError as error:
        logger.info("compiled kernels are not kept: %s", error)
    return made


def _digest(source: str, arch: str) -> str:
    """Of all that the code depends on."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        compiler = version("nvidia-cuda-nvrtc")
    except PackageNotFoundError:  # a CUDA toolkit of the system
        from cuda.bindings import nvrtc  # pyright: ignore[reportAttributeAccessIssue]

        compiler = str(nvrtc.nvrtcVersion())
    digest = hashlib.sha256(f"{arch} {compiler}".encode())
    # compile.py has the options.
    for path in (Path(__file__).with_name("compile.py"), *sorted(KERNELS.glob("*.h")), kernel_source(source)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:24]


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, whoever writes it at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        try:
            file.write(content)
            file.close()
            os.replace(file.name, path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
