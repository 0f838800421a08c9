"""Rewrite weights from before the network families: the same tensors under new names, metadata and card.

    .venv/bin/python scripts/convert_weights.py OLD.safetensors NEW.safetensors

Policies are taken as they are, or made of the rules of older files (decision, conservative, small_patch).
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from predecoder.correction import AbstainPolicy, Policies, ThresholdPolicy
from predecoder.network import make_network, network_config
from predecoder.weights import save_weights

_SEPARABLE = (
    (r"^noise\.", "noise_embedding."),
    (r"^geometry\.fields\.", "patch_embedding.position_bias."),
    (r"^geometry\.", "patch_embedding."),
    (r"^(trunk\.\d+)\.spatial\.", r"\1.depthwise."),
    (r"^(trunk\.\d+)\.mix\.", r"\1.pointwise."),
)
_DENSE = tuple(rule for rule in _SEPARABLE if "depthwise" not in rule[1])


def main() -> None:
    """Convert one file and its card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    flags = parser.parse_args()
    with safe_open(flags.old, framework="pt") as file:
        described = json.loads(file.metadata()["qecpipe"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    config = network_config(_network(described["network"]))
    policies = Policies.from_dict(described["policies"]) if "policies" in described else _policies(described)
    network = make_network(config)
    rules = _DENSE if config.family == "dense" else _SEPARABLE
    renamed = {_renamed(name, rules): tensor for name, tensor in tensors.items()}
    network.load_state_dict(renamed)
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in renamed.items())
    card = json.loads(flags.old.with_suffix(".json").read_text())
    save_weights(network, flags.new, _card(card), policies=policies)


def _network(old: dict[str, Any]) -> dict[str, Any]:
    if "family" in old:
        return old
    new = {
        "channels": old["channels"],
        "residual_blocks": old["residual_blocks"],
        "noise_conditioned": old.get("rates", False),
    }
    if not old.get("separable", False):
        return {"family": "dense", **new, "time_fold": old.get("time_fold", 2)}
    if old.get("time_fold", 2) != 1:
        raise ValueError("separable networks with time_fold=2 are no longer there")
    family = "quantized-separable" if old.get("integers", False) else "separable"
    return {"family": family, **new, "patch_embedding": old.get("geometry", 0)}


def _policies(old: dict[str, Any]) -> Policies:
    def threshold(rule: dict[str, Any]) -> ThresholdPolicy:
        return ThresholdPolicy(
            propose=rule["propose"],
            commit=rule["commit"],
            residual={"any": "any", "none": "empty"}[rule["residue"]],  # pyright: ignore[reportArgumentType]
            clustering={"moves": "moves", "mechanisms": "hyperedges"}[rule["bind"]],  # pyright: ignore
            commit_slope=rule["sparser"],
        )

    return Policies(
        threshold=threshold(old["decision"]),
        small_patch=threshold(old["small_patch"]),
        complete=threshold(old["conservative"]),
        abstain=AbstainPolicy(scale=old["conservative"]["doubt"]),
    )


def _renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, new in rules:
        name, count = re.subn(pattern, new, name)
        if count:
            break
    return name


def _card(value: Any) -> Any:
    """The card with every table of a network in today's fields."""
    if isinstance(value, list):
        return [_card(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _network(item) if key == "network" and isinstance(item, dict) else _card(item)
        for key, item in value.items()
    }


if __name__ == "__main__":
    main()
