"""Which device and precision a network runs on."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

__all__ = ["autocast", "select_device"]


def select_device(name: str = "auto") -> torch.device:
    """'cpu', 'cuda', or 'auto': CUDA where torch can use it, else the CPU.

    Raises:
        ValueError: an unknown name, or 'cuda' where torch finds no usable device.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device {name!r} is unknown; use 'auto', 'cpu' or 'cuda'")
    usable = torch.cuda.is_available()
    if name == "cuda" and not usable:
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA support"
        raise ValueError(
            f"device 'cuda' is not usable: torch was built with {built} and finds no GPU; use 'auto'"
        )
    return torch.device("cuda" if usable and name != "cpu" else "cpu")


def autocast(device: torch.device) -> AbstractContextManager:
    """bfloat16 on GPUs and on CPUs with AMX, where it is several times faster; float32 elsewhere."""
    fast = device.type == "cuda" or torch.cpu._is_amx_tile_supported()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=fast)
