"""Versions that counted errors depend on."""

from __future__ import annotations

import hashlib
import importlib.metadata
import socket
from functools import lru_cache
from pathlib import Path

import stim

import _qecpipe

__all__ = ["code_versions", "require_versions"]

_PACKAGES = ("pymatching", "sinter", "numpy", "torch")
_FOLDERS = ("qec", "predecoder", "global_decoders", "noise_learning", "cuda", "sims")


@lru_cache(maxsize=1)
def code_versions() -> dict[str, str]:
    """Of packages, and hashes of qecpipe's own sources and of its extension.

    Stim's shots of a seed also depend on the width of the processor's vectors, so on which module of it runs.
    """
    root = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for folder in _FOLDERS:
        for source in sorted((root / folder).rglob("*.py")):
            digest.update(source.relative_to(root).as_posix().encode() + source.read_bytes())
    extension = hashlib.sha256(Path(_qecpipe.__file__).read_bytes())
    versions = {
        "qecpipe": digest.hexdigest()[:16],
        "extension": extension.hexdigest()[:16],
        "stim": f"{importlib.metadata.version('stim')} ({stim.Circuit.__module__.rpartition('.')[2]})",
    }
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def require_versions(wanted: dict[str, str] | None) -> None:
    """Raise ValueError, with what differs, unless the code that is here has the `wanted` versions."""
    here = code_versions()
    for name, version in (wanted or here).items():
        if here.get(name) != version:
            raise ValueError(
                f"a worker on {socket.gethostname()} has {name} {here.get(name)}, the sweep is of {version}; "
                "install the same there"
            )
