"""The dense network's nonlinearity, with the same bits wherever an element stands."""

from __future__ import annotations

import torch
from torch.nn import functional

__all__ = ["gelu"]

_WHOLE_VECTORS = 64
"""A multiple of what torch's vector loops take in one step: two vectors, of 16 elements under AVX-512."""
_SERIAL = 32_768
"""Elements up to which torch does not share a loop among its threads (`at::internal::GRAIN_SIZE`)."""


def gelu(x: torch.Tensor) -> torch.Tensor:
    """Compute the tanh approximation of GELU.

    torch computes what is left over of a thread's share after whole vectors by other instructions, and those
    round otherwise: one element in ten differs by a unit in the last place. An element's bits would then
    depend on the size of the tensor, the machine's vectors and the number of threads, and a tile would not
    be its part of the whole. In float32 on a CPU every share is therefore made whole, except where gradients
    are recorded.
    """
    promised = x.device.type == "cpu" and x.dtype == torch.float32 and not x.requires_grad
    missing = _missing(x.numel()) if promised else 0
    if not missing:
        return functional.gelu(x, approximate="tanh")
    if not x.is_contiguous(memory_format=torch.channels_last_3d):
        x = x.contiguous()
    flat = x.as_strided((x.numel(),), (1,))
    whole = functional.gelu(functional.pad(flat, (0, missing)), approximate="tanh")
    return whole.as_strided(x.shape, x.stride())


def _missing(count: int) -> int:
    """Elements to add to `count` so that the shares of all threads are whole vectors."""
    shares = max(1, min(torch.get_num_threads(), -(-count // _SERIAL)))
    return -count % (_WHOLE_VECTORS * shares)
