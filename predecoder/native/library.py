"""Compile the C++ sources of this folder for this very machine, and load them.

Libraries are kept in the user's cache by a hash of all that decides what is in them: sources, flags, compiler
and the machine's instruction set. Machines that share a home folder therefore do not share libraries unless
they may, and an update of any of these compiles anew.

What is in the cache is loaded into the process, so that whoever can write there is trusted like this user. A
cache is used only if nobody else can: its files and folders, up to the root, belong to this user or to root,
and neither their group nor others can write in them. Otherwise this process compiles for itself, in a new
folder that only this user can enter.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import stat
import subprocess
import tempfile
from pathlib import Path

from cuda.qecpipe import cpu_build
from predecoder.native.trust import UntrustedError, is_ours, require_ours

__all__ = ["NativeUnavailableError", "load_library"]

SOURCES = Path(__file__).parent
_CACHE = Path("~/.cache/qecpipe/native")
_DIGEST = ".sha256"
"""Suffix of the file beside a library that holds its hash."""
_FLAGS = ("-O3", "-std=c++17", "-fPIC", "-shared", "-Wall", "-Wextra")
_NATIVE = "-march=native"
_TIMEOUT = 300
"""Seconds after which a compiler is given up."""
logger = logging.getLogger(__name__)


class NativeUnavailableError(RuntimeError):
    """A library could not be built or loaded; the message says why."""


@functools.cache
def load_library(source_name: str) -> ctypes.CDLL:
    """The library of `<source_name>.cpp`, compiled if it is not in the cache; once per process.

    Raises:
        NativeUnavailableError: there is no compiler, or it fails, or what it made cannot be loaded.
    """
    path = SOURCES / f"{source_name}.cpp"
    if not path.is_file():
        raise NativeUnavailableError(f"there is no {path.name} among the native sources ({SOURCES})")
    try:
        compiler = cpu_build.find_compiler()
    except cpu_build.CompilerMissingError as error:
        raise NativeUnavailableError(str(error)) from error
    flags, target = _target(compiler)
    try:
        library = _cache_folder() / f"{source_name}-{_key(path, flags, target)}.so"
        library.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        require_ours(library.parent)
        if not _is_whole(library):
            _build(compiler, flags, path, library)
    except UntrustedError as error:
        _warn_once(str(error))
        return _load_once(compiler, flags, path)
    except OSError:
        return _load_once(compiler, flags, path)
    return _load(library)


def _cache_folder() -> Path:
    """Raises OSError for a user without a home folder, as there are in containers."""
    try:
        return _CACHE.expanduser()
    except RuntimeError as error:
        raise FileNotFoundError(str(error)) from error


@functools.cache
def _warn_once(reason: str) -> None:
    logger.warning(reason)


def _load_once(compiler: str, flags: tuple[str, ...], path: Path) -> ctypes.CDLL:
    """Builds for this process only: a loaded library no longer needs its file."""
    try:
        with tempfile.TemporaryDirectory(prefix="qecpipe-", ignore_cleanup_errors=True) as folder:
            library = Path(folder) / f"{path.stem}.so"
            _build(compiler, flags, path, library)
            return _load(library)
    except OSError as error:
        raise NativeUnavailableError(f"no folder to compile {path.name} in: {error}") from error


def _load(library: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise NativeUnavailableError(f"{library.name} was compiled and does not load: {error}") from error


def _build(compiler: str, flags: tuple[str, ...], path: Path, library: Path) -> None:
    """Compiles to `library`, which appears whole or not at all: several processes may do this at once.

    Raises:
        NativeUnavailableError: the compiler failed; the message holds its output.
        OSError: the folder cannot be written.
    """
    with tempfile.TemporaryDirectory(dir=library.parent, prefix=f".{library.stem}-") as folder:
        made = Path(folder) / library.name
        _run([compiler, *flags, "-o", str(made), str(path)])
        digest = made.with_suffix(_DIGEST)
        digest.write_text(hashlib.sha256(made.read_bytes()).hexdigest())
        digest.replace(library.with_suffix(_DIGEST))
        made.replace(library)


def _is_whole(library: Path) -> bool:
    """Whether a library is what this user compiled: loading one that was damaged may end the process."""
    digest = library.with_suffix(_DIGEST)
    try:
        if not all(
            is_ours(path.lstat()) and stat.S_ISREG(path.lstat().st_mode) for path in (library, digest)
        ):
            return False
        return hashlib.sha256(library.read_bytes()).hexdigest() == digest.read_text()
    except (FileNotFoundError, UnicodeDecodeError):
        return False


def _run(command: list[str]) -> str:
    """Output of a compiler; `NativeUnavailableError` with its messages where it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=_TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NativeUnavailableError(f"{command[0]} could not be run: {error}") from error
    if done.returncode != 0:
        raise NativeUnavailableError(f"{command[0]} could not compile {command[-1]}:\n{done.stderr.strip()}")
    return done.stdout


@functools.cache
def _target(compiler: str) -> tuple[tuple[str, ...], str]:
    """Flags that the compiler takes, and what it predefines with them: version and instruction set."""
    ask = ("-dM", "-E", "-x", "c++", os.devnull)
    try:
        return (*_FLAGS, _NATIVE), _run([compiler, _NATIVE, *ask])
    except NativeUnavailableError:
        return _FLAGS, _run([compiler, *ask])


def _key(path: Path, flags: tuple[str, ...], target: str) -> str:
    digest = hashlib.sha256()
    for source in (path, *sorted(path.parent.glob("*.h"))):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    for text in (*flags, target):
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()[:24]
