"""Weights files on disk: found, hashed, and read up to their tensors."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from predecoder.network import Int8Support

__all__ = [
    "METADATA_KEY",
    "RANGES",
    "WeightsError",
    "WeightsFile",
    "int8_support",
    "metadata",
    "resolve_weights",
    "shipped_weights",
    "trained_to_be_matched",
]

_DEFAULT = "accurate"
METADATA_KEY = "qecpipe"
"""Of the one entry in a file's metadata, a JSON object. safetensors writes several in random order, and
the file's hash is its identity."""
RANGES = "ranges."
"""Begins the names of tensors that are a dense network's `ActivationRanges`."""
_PACKAGED = Path(str(files("predecoder"))) / "weights"


class WeightsError(ValueError):
    """A weights file that cannot be used; the message names it and says why."""


@dataclass(frozen=True)
class WeightsFile:
    """A weights file on disk.

    Attributes:
        path: the .safetensors file.
        sha256: hex digest of its bytes; part of every result that involves it.
        card: contents of the .json card beside it, empty where there is none.
    """

    path: Path
    sha256: str
    card: dict[str, Any] = field(compare=False, default_factory=dict)


def shipped_weights() -> tuple[str, ...]:
    """Names of the weights in the package."""
    return tuple(sorted(p.stem for p in _PACKAGED.glob("*.safetensors")))


def resolve_weights(name_or_path: str | Path = "default") -> WeightsFile:
    """Find weights by shipped name ('default' included) or path, and hash them.

    Raises:
        WeightsError: no such file or name, or a card that is not JSON.
    """
    name = _DEFAULT if str(name_or_path) == "default" else str(name_or_path)
    path = _PACKAGED / f"{name}.safetensors" if name in shipped_weights() else Path(name)
    if not path.is_file():
        raise WeightsError(
            f"weights {name!r} are neither a file nor a shipped name; shipped are: "
            f"{', '.join(shipped_weights()) or 'none'}"
        )
    stat = path.stat()
    return _read(path.resolve(), stat.st_mtime_ns, stat.st_size)


@lru_cache
def _read(path: Path, mtime_ns: int, size: int) -> WeightsFile:
    card_path = path.with_suffix(".json")
    try:
        card = json.loads(card_path.read_text()) if card_path.exists() else {}
    except json.JSONDecodeError as error:
        raise WeightsError(f"card {card_path} is not JSON: {error}") from None
    return WeightsFile(path, hashlib.sha256(path.read_bytes()).hexdigest(), card)


def int8_support(file: WeightsFile) -> Int8Support:
    """What `Network.int8` will say of a file's network; reads the file's header only.

    Raises:
        WeightsError: it is no weights file of this project.
    """
    from safetensors import safe_open

    network = metadata(file.path).get("network")
    if isinstance(network, dict) and network.get("family") == "quantized-separable":
        return "default"
    with safe_open(file.path, framework="np") as tensors:
        return "available" if any(name.startswith(RANGES) for name in tensors.keys()) else "none"  # noqa: SIM118


def trained_to_be_matched(file: WeightsFile) -> bool:
    """Whether the logits that `predecoder+X` takes were last trained by the logical class, as the card says.

    What such logits know is in their matching: a threshold on single clusters finds little of it. A removal
    head has logits of its own, trained by the moves.

    Raises:
        WeightsError: it is no weights file of this project.
    """
    network = metadata(file.path).get("network")
    if isinstance(network, dict) and network.get("removal_head"):
        return False
    stages = file.card.get("config", {}).get("stages") or [file.card.get("stage", {})]
    return "fine_tuned_from" in file.card or stages[-1].get("loss") == "logical-class"


def metadata(path: Path) -> dict[str, Any]:
    """What `save_weights` wrote into a file beside its tensors.

    Raises:
        WeightsError: it is no weights file of this project.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            entries = file.metadata() or {}
    except SafetensorError as error:
        raise WeightsError(
            f"{path} is not a safetensors file ({error}); use a file that qecpipe train wrote"
        ) from None
    if METADATA_KEY not in entries:
        raise WeightsError(
            f"{path} has no {METADATA_KEY!r} metadata; only weights written by qecpipe can be used"
        )
    try:
        return dict(json.loads(entries[METADATA_KEY]))
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path} has {METADATA_KEY!r} metadata that are no object: {error}") from None
