"""The engine that runs any network on any device: torch, in batches of shots, or of tiles of large ones.

Shots are bit-packed uint8 `(B, ceil(n / 8))`, LSB first. Shape legend: B shots, M moves in the order of
`MoveSet`, C channels, (t, i, j) blocks, (T, i, j) the network's cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from predecoder.blocking import NetworkInput, blocked_noise_features, blocked_places
from predecoder.inference.device import running
from predecoder.inference.precision import Precision
from predecoder.inference.tiles import infer_tiled
from qec import DecodingProblem, DetectorLayout

if TYPE_CHECKING:
    import torch

    from predecoder.network import FusedDense, Network

__all__ = ["TorchEngine", "fitting_shots"]

_BLOCKS_PER_BATCH = 4096
"""Blocks that go through the network at a time: one layer's activations then stay in the cache."""
_BLOCKS_PER_TILE = 32_768
"""A larger volume is cut along time and computed tile by tile, to bound memory."""


class TorchEngine:
    """A network on one decoding problem, by torch; see `Engine`."""

    def __init__(
        self,
        problem: DecodingProblem,
        network: Network,
        *,
        device: torch.device,
        precision: Precision = "float32",
        batch_shots: int | None = None,
        threads: int | None = None,
    ) -> None:
        """Move the network to the device, and compute what the DEM's noise adds to its first layer.

        Args:
            batch_shots: by default what fits the cache.
            threads: for large batches on a CPU; by default those that torch has.

        Raises:
            ValueError: torch does not compute in this precision.
        """
        if precision not in ("float32", "bfloat16"):
            raise ValueError(
                f"torch computes in float32 or bfloat16; make_engine has engines for {precision}"
            )
        self.precision: Precision = precision
        self._threads = threads
        layout = problem.layout
        self.batch_shots = batch_shots or fitting_shots(layout)
        blocks = int(np.prod(layout.shape)) // 8
        self._macs = blocks * network.config.macs_per_block
        self._tile = _tile_size(layout.shape) if blocks > _BLOCKS_PER_TILE else None
        self._network, self._device = (
            _runner(network.to(device), device, precision, layout, self.batch_shots),
            device,
        )
        self._input, self._places = NetworkInput(layout), blocked_places(layout, problem.moves)
        self._noise_bias: torch.Tensor | None = None
        if network.config.noise_conditioned:
            features = self._tensor(blocked_noise_features(problem))
            of_bias = precision if self._network is network else "float32"
            with running(device, of_bias, work=self._macs, threads=threads):
                self._noise_bias = network.noise_bias(features)

    def __call__(self, packed: np.ndarray) -> np.ndarray:
        """The network's logits of all moves: float32 `(B, M)`."""
        starts = range(0, max(1, len(packed)), self.batch_shots)
        return np.concatenate([self._batch(packed[start : start + self.batch_shots]) for start in starts])

    def _batch(self, packed: np.ndarray) -> np.ndarray:
        inputs, noise_bias = self._tensor(self._input(packed)), self._noise_bias
        with running(self._device, self.precision, work=self._macs * len(packed), threads=self._threads):
            if self._tile:
                logits = infer_tiled([self._network], inputs, noise_bias, size=self._tile)
            else:
                logits = self._network.logits(inputs, noise_bias)
        blocked = logits.permute(0, 2, 3, 4, 1).float().cpu().numpy()
        return np.take(blocked.reshape(len(packed), blocked[:1].size), self._places, axis=1)

    def _tensor(self, blocked_BtijC: np.ndarray) -> torch.Tensor:
        """`(B, C, t, i, j)`, channels last, on the device."""
        import torch

        return torch.from_numpy(blocked_BtijC).to(self._device).permute(0, 4, 1, 2, 3)


def _runner(
    network: Network, device: torch.device, precision: Precision, layout: DetectorLayout, shots: int
) -> Network | FusedDense:
    """What computes a network's logits in a precision."""
    from predecoder.network import DenseNetwork, FusedDense

    if precision != "bfloat16" or not isinstance(network, DenseNetwork) or not FusedDense.runs(device):
        return network
    layers, rows, columns = (n // 2 for n in layout.shape)
    return FusedDense(network, cells=(2 // network.config.time_fold * layers, rows, columns), shots=shots)


def fitting_shots(layout: DetectorLayout) -> int:
    """Shots whose activations fit the cache."""
    return max(1, _BLOCKS_PER_BATCH // (int(np.prod(layout.shape)) // 8))


def _tile_size(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Blocks (t, i, j) of a tile's core: the whole patch, and as many layers as the bound allows."""
    _, i, j = (n // 2 for n in shape)
    return max(1, _BLOCKS_PER_TILE // (i * j)), i, j
