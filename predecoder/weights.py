"""Weight files: safetensors with a JSON card beside them, named by hash."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from predecoder.correction.policies import Policies
from qec import GRID_REVISION

if TYPE_CHECKING:
    from predecoder.network import Network, NetworkConfig

__all__ = [
    "Bundle",
    "WeightsError",
    "WeightsFile",
    "is_quantized",
    "load_bundle",
    "load_network",
    "resolve_weights",
    "save_weights",
    "shipped_weights",
]

DEFAULT_WEIGHTS = "accurate"
_METADATA_KEY = "qecpipe"
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


@dataclass(frozen=True, eq=False)
class Bundle:
    """What a weights file holds.

    Attributes:
        network: gives logits.
        policies: what becomes of them.
        file: where both are from.
    """

    network: Network
    policies: Policies
    file: WeightsFile


def shipped_weights() -> tuple[str, ...]:
    """Names of the weights in the package."""
    return tuple(sorted(p.stem for p in _PACKAGED.glob("*.safetensors")))


def resolve_weights(name_or_path: str | Path = "default") -> WeightsFile:
    """Finds weights by shipped name ('default' included) or path, and hashes them.

    Raises:
        WeightsError: no such file or name, or a card that is not JSON.
    """
    name = DEFAULT_WEIGHTS if str(name_or_path) == "default" else str(name_or_path)
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


def is_quantized(file: WeightsFile) -> bool:
    """Whether a file holds a network that was made for int8; reads its header only.

    Raises:
        WeightsError: it is no weights file of this project.
    """
    return bool(_metadata(file.path).get("network", {}).get("integers", False))


def save_weights(
    network: Network, path: Path, card: dict[str, Any], *, policies: Policies | None = None
) -> WeightsFile:
    """Write `path` (.safetensors, with the network's configuration and policies) and its .json card."""
    from safetensors.torch import save_file

    tensors = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    partial = path.with_suffix(".partial")
    # One entry: safetensors writes several in random order, and the file's hash is its identity.
    described = {
        "network": dataclasses.asdict(network.config),
        "policies": (policies or Policies()).to_dict(),
        "grid": GRID_REVISION,
    }
    save_file(tensors, partial, metadata={_METADATA_KEY: json.dumps(described)})
    partial.chmod(0o644)  # safetensors writes files that only their owner can read
    partial.replace(path)
    path.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")
    return resolve_weights(path)


def load_network(name_or_path: str | Path, *, expect: NetworkConfig | None = None) -> Network:
    """The network of a weights file alone; see `load_bundle`."""
    return load_bundle(name_or_path, expect=expect).network


def load_bundle(name_or_path: str | Path, *, expect: NetworkConfig | None = None) -> Bundle:
    """Build the network that a weights file describes, load it, and read its policies.

    Raises:
        WeightsError: not a safetensors file, not of this project, or not of the `expect`ed size.
    """
    from safetensors import safe_open

    from predecoder.network import Network, NetworkConfig

    weights_file = resolve_weights(name_or_path)
    path = weights_file.path
    described = _metadata(path)
    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    try:
        config = NetworkConfig(**described["network"])
        policies = Policies.from_dict(described["policies"])
        grid = described["grid"]
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path} describes a network that is not of this version ({error}); train it again, or use "
            f"shipped weights: {', '.join(shipped_weights())}"
        ) from None
    if grid != GRID_REVISION:
        raise WeightsError(
            f"{path} was trained on revision {grid} of the detector grid, this is revision {GRID_REVISION}; "
            f"train it again, or use shipped weights: {', '.join(shipped_weights())}"
        )
    if expect is not None and config != expect:
        raise WeightsError(f"{path} holds {config}, the configuration asks for {expect}")
    network = Network(config)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[1:2] or [str(error)]
        raise WeightsError(
            f"{path} does not fit the network it describes ({reason[0].strip()}); copy or train it again"
        ) from None
    return Bundle(network.eval(), policies, weights_file)


def _metadata(path: Path) -> dict[str, Any]:
    """What `save_weights` wrote into a file beside its tensors."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise WeightsError(
            f"{path} is not a safetensors file ({error}); use a file that qecpipe train wrote"
        ) from None
    if _METADATA_KEY not in metadata:
        raise WeightsError(
            f"{path} has no {_METADATA_KEY!r} metadata; only weights written by qecpipe can be used"
        )
    try:
        return dict(json.loads(metadata[_METADATA_KEY]))
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path} has {_METADATA_KEY!r} metadata that are no object: {error}") from None
