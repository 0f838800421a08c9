"""Shots through the network: logits, and the residual that each of several decisions leaves.

All arrays of shots are bit-packed uint8 `(shots, ceil(n / 8))`, LSB first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from predecoder.blocking import NetworkInput, unblock
from predecoder.decision import Decision
from predecoder.stencils import ResidualStencil
from qec.layout import DetectorLayout

if TYPE_CHECKING:
    import torch

    from predecoder.network import Network

__all__ = ["ResidualNetwork"]

_BLOCKS_PER_BATCH = 4096
"""Blocks that go through the network at a time: one layer's activations then stay in the cache."""
_BATCHES_PER_DECISION = 8
"""Batches whose moves are decided together: part of a decision's cost does not depend on the shots."""
_BLOCKS_PER_TILE = 32_768
"""A larger volume is cut along time and computed tile by tile, to bound memory."""


class ResidualNetwork:
    """A network on one layout.

    Attributes:
        batch_shots: shots that go through the network at a time.
    """

    def __init__(
        self,
        layout: DetectorLayout,
        network: Network,
        *,
        device: torch.device,
        batch_shots: int | None = None,
    ) -> None:
        """`batch_shots` is by default what fits the cache."""
        blocks = int(np.prod(layout.shape)) // 8
        self.batch_shots = batch_shots or max(1, _BLOCKS_PER_BATCH // blocks)
        self._num_detectors, self._num_observables = layout.num_detectors, layout.num_observables
        self._tile = _tile_size(layout.shape) if blocks > _BLOCKS_PER_TILE else None
        self._network = network.to(device)
        self._device = device
        self._input = NetworkInput(layout)
        self._stencil = ResidualStencil(layout)

    def logits(self, packed: np.ndarray) -> np.ndarray:
        """The network's logits of all moves: float32 `(shots, t, i, j, 24)`, blocked, batch by batch."""
        starts = range(0, max(1, len(packed)), self.batch_shots)
        return np.concatenate([self._logits(packed[start : start + self.batch_shots]) for start in starts])

    def _logits(self, packed: np.ndarray) -> np.ndarray:
        import torch

        from predecoder.device import autocast
        from predecoder.tiles import infer_tiled

        inputs = torch.from_numpy(self._input(packed)).to(self._device).permute(0, 4, 1, 2, 3)
        with torch.inference_mode(), autocast(self._device):
            logits = (
                infer_tiled([self._network], inputs, size=self._tile) if self._tile else self._network(inputs)
            )
        return logits.permute(0, 2, 3, 4, 1).float().cpu().numpy()

    def propose(self, packed: np.ndarray, decisions: Sequence[Decision]) -> list[np.ndarray]:
        """Moves that each decision commits, uint8 0/1 `(shots, 3, T, I, J)`, from one run of the network."""
        detections = np.unpackbits(packed, axis=1, count=self._num_detectors, bitorder="little")
        logits = self.logits(packed)
        return [unblock(decision(logits, detections)) for decision in decisions]

    def apply(self, packed: np.ndarray, moves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residual syndrome and observable flips of moves `(shots, 3, T, I, J)`, bit-packed."""
        return self._stencil(packed, moves)

    def residuals(
        self, packed: np.ndarray, decisions: Sequence[Decision]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Residual syndrome and observable flips under each decision, some batches at a time."""
        width = -(-self._num_observables // 8)
        results = [(np.empty_like(packed), np.empty((len(packed), width), np.uint8)) for _ in decisions]
        size = _BATCHES_PER_DECISION * self.batch_shots
        for start in range(0, len(packed), size):
            part = slice(start, start + size)
            proposed = self.propose(packed[part], decisions)
            for moves, (residual, flips) in zip(proposed, results, strict=True):
                residual[part], flips[part] = self.apply(packed[part], moves)
        return results


def _tile_size(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Blocks (t, i, j) of a tile's core: the whole patch, and as many layers as the bound allows."""
    _, i, j = (n // 2 for n in shape)
    return max(1, _BLOCKS_PER_TILE // (i * j)), i, j
