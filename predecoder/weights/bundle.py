"""What a weights file holds: a network and the policies that its logits were calibrated for."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from predecoder.correction.policies import Policies
from predecoder.weights.files import (
    METADATA_KEY,
    RANGES,
    WeightsError,
    WeightsFile,
    metadata,
    resolve_weights,
    shipped_weights,
)
from qec import GRID_REVISION, output_file

if TYPE_CHECKING:
    from predecoder.network import Network, NetworkConfig

__all__ = ["Bundle", "load_bundle", "load_network", "save_weights"]


@dataclass(frozen=True, eq=False)
class Bundle:
    """What a weights file holds.

    Attributes:
        network: gives logits; of two heads, those to match.
        policies: what becomes of them.
        file: where both are from.
    """

    network: Network
    policies: Policies
    file: WeightsFile

    @cached_property
    def removal_network(self) -> Network:
        """Gives logits that say which moves to commit: `network` itself, unless it has a head for them."""
        from predecoder.network import removal_network

        return removal_network(self.network)


def save_weights(
    network: Network, path: Path, card: dict[str, Any], *, policies: Policies | None = None
) -> WeightsFile:
    """Write `path` (.safetensors, with the network's configuration and policies) and its .json card."""
    import torch
    from safetensors.torch import save_file

    from predecoder.network import DenseNetwork

    tensors = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    if isinstance(network, DenseNetwork) and network.ranges is not None:
        tensors |= {RANGES + k: torch.from_numpy(v.copy()) for k, v in network.ranges.tables().items()}
    described = {
        "network": dataclasses.asdict(network.config),
        "policies": (policies or Policies()).to_dict(),
        "grid": GRID_REVISION,
    }
    with output_file(path) as unfinished:
        save_file(tensors, unfinished, metadata={METADATA_KEY: json.dumps(described)})
        unfinished.chmod(0o644)  # safetensors writes files that only their owner can read
    with output_file(path.with_suffix(".json")) as unfinished:
        unfinished.write_text(json.dumps(card, indent=2) + "\n")
    return resolve_weights(path)


def load_network(name_or_path: str | Path, *, expect: NetworkConfig | None = None) -> Network:
    """Load the network of a weights file alone; see `load_bundle`."""
    return load_bundle(name_or_path, expect=expect).network


def load_bundle(name_or_path: str | Path, *, expect: NetworkConfig | None = None) -> Bundle:
    """Build the network that a weights file describes, load it, and read its policies.

    Raises:
        WeightsError: not a safetensors file, not of this project, or not of the `expect`ed size.
    """
    from safetensors import safe_open

    from predecoder.network import ActivationRanges, DenseNetwork, make_network, network_config

    weights_file = resolve_weights(name_or_path)
    path = weights_file.path
    described = metadata(path)
    try:
        config = network_config(described["network"])
        policies = Policies.from_dict(described["policies"])
        grid = described["grid"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
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
    network = make_network(config)
    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    ranges = {key: tensors.pop(key).numpy() for key in list(tensors) if key.startswith(RANGES)}
    try:
        if ranges and isinstance(network, DenseNetwork):
            network.ranges = ActivationRanges.from_tables(
                {key.removeprefix(RANGES): table for key, table in ranges.items()},
                blocks=config.residual_blocks,
                channels=config.channels,
            )
        network.load_state_dict(tensors)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[1:2] or [str(error)]
        raise WeightsError(
            f"{path} does not fit the network it describes ({reason[0].strip()}); copy or train it again"
        ) from None
    return Bundle(network.eval(), policies, weights_file)
