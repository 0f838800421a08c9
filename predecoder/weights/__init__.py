"""Weights: safetensors files with a JSON card beside them, named by the hash of their bytes.

`load_bundle` gives a network, the policies that its logits were calibrated for, and the file that both are
from; `save_weights` writes them. `resolve_weights` finds a file by shipped name or path and hashes it;
`is_quantized` says whether it was made for int8. Importing this package does not import torch.
"""

from predecoder.weights.bundle import Bundle, load_bundle, load_network, save_weights
from predecoder.weights.files import (
    WeightsError,
    WeightsFile,
    is_quantized,
    resolve_weights,
    shipped_weights,
)

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
