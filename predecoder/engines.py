"""What turns shots into logits: the engine in C++ where it can, torch everywhere.

Shots are bit-packed uint8 `(B, ceil(n / 8))`, LSB first. Shape legend: B shots, M moves in the order of
`MoveSet`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from predecoder.blocking import NetworkInput, blocked_places
from predecoder.native import NativeIntegerNetwork, NativeNetwork, native_or_none
from predecoder.rates import blocked_rates
from qec import DecodingProblem, DetectorLayout

if TYPE_CHECKING:
    import torch

    from predecoder.network import Network

__all__ = ["Engine", "TorchEngine", "make_engine"]

_BLOCKS_PER_BATCH = 4096
"""Blocks that go through the network at a time: one layer's activations then stay in the cache."""
_BLOCKS_PER_TILE = 32_768
"""A larger volume is cut along time and computed tile by tile, to bound memory."""


class Engine(Protocol):
    """A network on one layout.

    Attributes:
        lanes: shots that are computed side by side: fewer take as long.
    """

    lanes: int

    def __call__(self, packed: np.ndarray) -> np.ndarray:
        """The network's logits of all moves: float32 `(B, M)`."""
        ...


def make_engine(
    problem: DecodingProblem,
    network: Network,
    *,
    device: torch.device,
    batch_shots: int | None = None,
    native: bool = True,
) -> Engine:
    """The fastest engine for a network and a device.

    Args:
        batch_shots: shots that torch computes at a time; by default, what fits the cache.
        native: whether an engine in C++ may be used, for separable networks on a CPU. The one in integers
            rounds: its logits are not those of the others.
    """
    if native and device.type == "cpu":
        for kind in (NativeIntegerNetwork, NativeNetwork):
            if not kind.runs(network.config):
                continue
            engine = native_or_none(partial(kind, problem, network))
            if engine is not None:
                return engine
    return TorchEngine(problem, network, device=device, batch_shots=batch_shots)


class TorchEngine:
    """torch, in batches of shots, or of tiles where one shot is large."""

    lanes = 1

    def __init__(
        self,
        problem: DecodingProblem,
        network: Network,
        *,
        device: torch.device,
        batch_shots: int | None = None,
    ) -> None:
        """`batch_shots` is by default what fits the cache."""
        layout = problem.layout
        self.batch_shots = batch_shots or fitting_shots(layout)
        blocks = int(np.prod(layout.shape)) // 8
        self._tile = _tile_size(layout.shape) if blocks > _BLOCKS_PER_TILE else None
        self._network, self._device = network.to(device), device
        self._input = NetworkInput(layout)
        self._places = blocked_places(layout, problem.moves)
        self._rates = blocked_rates(problem) if network.config.rates else None

    def __call__(self, packed: np.ndarray) -> np.ndarray:
        """The network's logits of all moves: float32 `(B, M)`."""
        starts = range(0, max(1, len(packed)), self.batch_shots)
        return np.concatenate([self._batch(packed[start : start + self.batch_shots]) for start in starts])

    def _batch(self, packed: np.ndarray) -> np.ndarray:
        import torch

        from predecoder.device import autocast
        from predecoder.tiles import infer_tiled

        given = [
            torch.from_numpy(a).to(self._device).permute(0, 4, 1, 2, 3)
            for a in (self._input(packed), self._rates)
            if a is not None
        ]
        with torch.inference_mode(), autocast(self._device):
            logits = (
                infer_tiled([self._network], *given, size=self._tile) if self._tile else self._network(*given)
            )
        blocked = logits.permute(0, 2, 3, 4, 1).float().cpu().numpy()
        return np.take(blocked.reshape(len(packed), blocked[:1].size), self._places, axis=1)


def fitting_shots(layout: DetectorLayout) -> int:
    """Shots whose activations fit the cache."""
    return max(1, _BLOCKS_PER_BATCH // (int(np.prod(layout.shape)) // 8))


def _tile_size(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Blocks (t, i, j) of a tile's core: the whole patch, and as many layers as the bound allows."""
    _, i, j = (n // 2 for n in shape)
    return max(1, _BLOCKS_PER_TILE // (i * j)), i, j
