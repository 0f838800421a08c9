"""Where a network runs, and how: what all that run one are given alike."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

from predecoder.inference.device import select_device
from predecoder.inference.precision import PrecisionChoice

if TYPE_CHECKING:
    import torch

__all__ = ["EngineOptions"]


@dataclass(frozen=True)
class EngineOptions:
    """What `make_engine` is asked for.

    Attributes:
        device: 'auto', 'cpu', 'cuda', one GPU, such as 'cuda:1' (see `select_device`), or torch's.
        precision: what the network computes in; see `choose_precision`.
        batch_shots: shots that go through the network at a time; None for what fits the cache.
        threads: of large batches, in torch or in C++; None for as many as torch has. Small ones have one.

    Raises:
        ValueError: a number below 1.
    """

    device: str | torch.device = "auto"
    _: KW_ONLY
    precision: PrecisionChoice = "auto"
    batch_shots: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.batch_shots is not None and self.batch_shots < 1:
            raise ValueError(f"batch_shots={self.batch_shots} is less than 1")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads={self.threads} is less than 1; leave it out for as many as torch has")

    @property
    def torch_device(self) -> torch.device:
        """The device itself.

        Raises:
            ValueError: an unknown name, or a device that cannot be used.
        """
        return select_device(self.device) if isinstance(self.device, str) else self.device
