"""The build backend: scikit-build-core's, with a compiler from PyPI where the machine has none.

`pip install` builds the extension `_qecpipe` on any machine. Where there is no C++ compiler, the build needs
one package more, `ziglang`, whose clang brings its own linker, archiver and headers of the C library; short
scripts in a temporary folder give it the names that CMake looks for.

An editable install puts the extension and its stub into the source tree, beside the packages, so that any
working tree runs what it has built (`scripts/build_native.sh` replaces them), whatever is installed.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import platform
import shlex
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from scikit_build_core import build as _backend
from scikit_build_core.build import (
    build_sdist,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "compiler",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

COMPILERS = ("c++", "g++", "clang++")
"""What is looked for after the variable CXX, as CMake does."""
ZIG = "ziglang>=0.13"
_POINTER: dict[str, list[str] | str] = {"wheel.cmake": "false", "editable.mode": "inplace"}
"""Settings of a wheel that only points to the source tree."""

Settings = dict[str, list[str] | str] | None


def compiler() -> str | None:
    """The C++ compiler of this machine: what CXX names, or one of `COMPILERS`; None where there is none."""
    named = shlex.split(os.environ.get("CXX", ""))
    for name in (*named[:1], *COMPILERS):
        path = shutil.which(name)
        if path is not None:
            return path
    return None


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    """What scikit-build-core needs, and zig where there is no compiler."""
    return [*_backend.get_requires_for_build_wheel(config_settings), *_compiler_requirement()]


def get_requires_for_build_editable(config_settings: Settings = None) -> list[str]:
    """The same as for a wheel, which is built on the way."""
    return [*_backend.get_requires_for_build_editable(config_settings), *_compiler_requirement()]


def build_wheel(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    """Build a wheel, with the machine's compiler or with zig."""
    with _some_compiler():
        return _backend.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    """Build the extension into the source tree, and a wheel that only points there."""
    settings = (config_settings or {}) | _POINTER
    with tempfile.TemporaryDirectory(prefix="qecpipe-wheel-") as folder:
        _extract_extension(Path(folder) / build_wheel(folder, config_settings), Path.cwd())
        name = _backend.build_editable(folder, settings, metadata_directory)
        _write_pointer(Path(folder) / name, Path(wheel_directory) / name, Path.cwd())
    return name


def prepare_metadata_for_build_editable(metadata_directory: str, config_settings: Settings = None) -> str:
    """Metadata of the wheel that only points to the source tree."""
    return _backend.prepare_metadata_for_build_editable(
        metadata_directory, (config_settings or {}) | _POINTER
    )


def _write_pointer(wheel: Path, pointer: Path, tree: Path) -> None:
    """Copy a wheel's metadata alone, and have `tree` on the path.

    scikit-build-core's own pointer finds the packages before PYTHONPATH is looked at, so that a second
    working tree would run the first one's code.
    """
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if ".dist-info/" in name}
    (record,) = (name for name in files if name.endswith(".dist-info/RECORD"))
    files["__editable__qecpipe.pth"] = f"{tree}\n".encode()
    del files[record]
    lines = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in files.items()]
    files[record] = "\n".join([*lines, f"{record},,", ""]).encode()
    with zipfile.ZipFile(pointer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def _digest(data: bytes) -> str:
    """As RECORD has it."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _compiler_requirement() -> list[str]:
    return [] if compiler() else [ZIG]


def _extract_extension(wheel: Path, tree: Path) -> None:
    """Put `_qecpipe*` of a wheel beside the packages, replacing what is there as a whole."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith("_qecpipe") and "/" not in name]
        if not names:
            raise RuntimeError(f"{wheel.name} has no extension _qecpipe")
        for name in names:
            new = tree / f".{name}.new"
            new.write_bytes(archive.read(name))
            new.chmod(0o755 if new.suffix == ".so" else 0o644)
            new.replace(tree / name)


@contextlib.contextmanager
def _some_compiler() -> Iterator[None]:
    """Have CMake find a compiler: the machine's, or zig under the usual names."""
    if compiler():
        yield
        return
    with tempfile.TemporaryDirectory(prefix="qecpipe-zig-") as folder:
        added = {
            "CXX": _script(Path(folder), "c++"),
            "CMAKE_ARGS": " ".join(
                [
                    os.environ.get("CMAKE_ARGS", ""),
                    f"-DCMAKE_AR={_script(Path(folder), 'ar')}",
                    f"-DCMAKE_RANLIB={_script(Path(folder), 'ranlib')}",
                ]
            ),
        }
        before = {name: os.environ.get(name) for name in added}
        os.environ.update(added)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def _script(folder: Path, name: str) -> str:
    """Write a script that runs one of zig's tools, and return its path."""
    script = folder / name
    run = f"exec {shlex.quote(sys.executable)} -m ziglang {name}"
    lines = ["#!/bin/sh"]
    if name == "c++":
        # Without a target, zig compiles for the processor that it runs on. It writes x86_64_v3 for x86-64-v3.
        lines += [
            "for argument do",
            "    shift",
            "    case $argument in -march=x86-64-*) argument=-march=x86_64_${argument##*-} ;; esac",
            '    set -- "$@" "$argument"',
            "done",
        ]
        run += _target() + " -g0"  # unless it is told so, it writes debug information: 20 MB
    lines.append(f'{run} "$@"')
    script.write_text("\n".join(lines) + "\n", encoding="utf-8")
    script.chmod(0o755)
    return str(script)


def _target() -> str:
    """The option for the oldest machine of this kind; none on systems whose own tools are needed anyway."""
    if platform.system() != "Linux":
        return ""
    libc = "gnu" if platform.libc_ver()[0] == "glibc" else "musl"
    return f" -target {platform.machine()}-linux-{libc}"
