"""Several processes that train one network together: who they are, and what they tell each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed

__all__ = ["ALONE", "Processes"]

_TIMEOUT = timedelta(minutes=10)
"""How long one waits for the others: longer than any first batch is in the making."""


@dataclass(frozen=True)
class Processes:
    """Process number `rank` of `world_size`; step k uses batches k * world_size + rank, one a process."""

    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank={self.rank} is not one of world_size={self.world_size} processes")

    @contextmanager
    def joined(self, meeting: str, device: torch.device) -> Iterator[None]:
        """Connects them until the block ends: by gloo, or on CUDA by NCCL, on each one's current device.

        Where one of them ends early, the others raise RuntimeError, by gloo at once; where one hangs, they
        do after ten minutes.

        Args:
            meeting: where they find each other, 'tcp://HOST:PORT' or 'file://PATH'.
        """
        if self.world_size == 1:
            yield
            return
        backend = "nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(
            backend, init_method=meeting, rank=self.rank, world_size=self.world_size, timeout=_TIMEOUT
        )
        yield
        distributed.destroy_process_group()  # not after an error: by NCCL it waits for the others

    def average(self, tensors: list[torch.Tensor]) -> None:
        """Sets every tensor to its mean over the processes, the same bits in all of them."""
        if self.world_size == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat)
        flat /= self.world_size
        for tensor, mean in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def require_same(self, step: int) -> None:
        """Raises ValueError unless all processes are about to do the same step."""
        if self.world_size == 1:
            return
        steps: list[int] = [step] * self.world_size
        distributed.all_gather_object(steps, step)
        if set(steps) != {step}:
            raise ValueError(
                f"the processes begin at steps {steps}; give them a --work-dir on a disk that all share"
            )


ALONE = Processes()
