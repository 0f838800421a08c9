"""The network on a device for one tile of a stream at a time, in the numbers of `DeviceEngine`.

Tiles differ in where detectors are and in their noise, at the beginning and the end of an experiment; in
between all are alike. Each kind is a program of its own, whose graph is captured when the first such tile
comes.

Shape legend: (T, I, J) the grid's layers, rows and columns, (t, i, j) = (T, I, J) / 2 blocks, F features.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from cuda.qecpipe import CudaEngine, Driver, Program, in_order
from predecoder.blocking import MOVE_CHANNELS, block, unblock
from predecoder.inference.placed_network import LOGIT_STEP, PlacedNetwork, noise_bias
from predecoder.inference.precision import Precision

if TYPE_CHECKING:
    from predecoder.network import Network

__all__ = ["TileEngine"]

_KINDS = 64
"""Of tiles whose programs are kept; an experiment has those of its beginning, its middle and its end."""


class TileEngine:
    """A network on one device."""

    def __init__(self, network: Network, driver: Driver, *, precision: Precision) -> None:
        """Copy it; see `PlacedNetwork`."""
        self._network, self._placed = network, PlacedNetwork(network, driver, precision=precision)
        self._engines: OrderedDict[tuple[tuple[int, ...], bytes, bytes], CudaEngine] = OrderedDict()

    def __call__(self, grid: np.ndarray, features: np.ndarray | None) -> np.ndarray:
        """Logits of every move, float32 `(3, T, I, J)`.

        Args:
            grid: uint8 0/1 `(2, T, I, J)`: detections, and where detectors are; all sides are even.
            features: float32 `(F, T, I, J)`, of noise-conditioned networks.

        Raises:
            DeviceError: the device fails.
        """
        present = grid[1].astype(bool)
        noise = b"" if features is None else features.tobytes()
        kind = present.shape, present.tobytes(), noise
        if kind not in self._engines:
            self._engines[kind] = self._made(present, features)
            if len(self._engines) > _KINDS:
                self._engines.popitem(last=False)
        self._engines.move_to_end(kind)
        packed = np.packbits(grid[0][present], bitorder="little")[None]
        (found,) = (
            results["logits"].astype(np.float32) for results in in_order([(self._engines[kind], packed)])
        )
        if self._placed.output.scale is not None:
            found *= np.float32(LOGIT_STEP)
        t, i, j = (n // 2 for n in present.shape)
        return unblock(found.reshape(1, t, i, j, MOVE_CHANNELS))[0]

    def _made(self, present: np.ndarray, features: np.ndarray | None) -> CudaEngine:
        count = int(present.sum())
        numbers = np.full(present.shape, -1, dtype=np.int32)
        numbers[present] = np.arange(count)
        source = np.ascontiguousarray(np.moveaxis(block(numbers[None, None])[0], -1, 0))
        bias = None if features is None else noise_bias(self._network, block(features[None]))
        program = Program(
            source=source,
            num_detectors=count,
            network=self._placed.with_noise(bias),
            dtype=self._placed.dtype,
            places=np.arange(3 * present.size),
            output=self._placed.output,
        )
        return CudaEngine(program, self._placed.driver, batch_shots=1)
