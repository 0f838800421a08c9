"""Weights: safetensors files with a JSON card beside them, named by the hash of their bytes.

`load_bundle` gives a network, the policies that its logits were calibrated for, and the file that both are
from; `save_weights` writes them. `resolve_weights` finds a file by shipped name or path and hashes it;
`int8_support` says whether int8 engines run it, `trained_to_be_matched` for what its logits are. Importing
this package does not import torch.
"""

from predecoder.weights.bundle import Bundle, load_bundle, load_network, save_weights
from predecoder.weights.files import (
    WeightsError,
    WeightsFile,
    int8_support,
    resolve_weights,
    shipped_weights,
    trained_to_be_matched,
)

__all__ = [
    "Bundle",
    "WeightsError",
    "WeightsFile",
    "int8_support",
    "load_bundle",
    "load_network",
    "resolve_weights",
    "save_weights",
    "shipped_weights",
    "trained_to_be_matched",
]
