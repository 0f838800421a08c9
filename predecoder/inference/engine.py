"""What turns shots into logits: the engine in C++ where it can, torch everywhere.

Shots are bit-packed uint8 `(B, ceil(n / 8))`, LSB first. Shape legend: B shots, M moves in the order of
`MoveSet`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from predecoder.blocking import NetworkInput, blocked_places
from predecoder.inference import Precision, PrecisionChoice, choose_precision
from predecoder.inference.int8_reference import ReferenceIntegerNetwork
from predecoder.inference.quantized_tables import QuantizedTables
from predecoder.inference import NativeIntegerNetwork, NativeNetwork
from predecoder.native import native_or_none
from predecoder.rates import blocked_rates
from qec import DetectorLayout, MoveSet

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
        precision: what it computes in (`predecoder.inference.precision`).
    """

    lanes: int
    precision: Precision

    def __call__(self, packed: np.ndarray) -> np.ndarray:
        """The network's logits of all moves: float32 `(B, M)`."""
        ...


def make_engine(
    layout: DetectorLayout,
    network: Network,
    moves: MoveSet,
    *,
    device: torch.device,
    precision: PrecisionChoice = "auto",
    batch_shots: int | None = None,
    threads: int | None = None,
    native: bool = True,
) -> Engine:
    """Return the fastest engine for a network, a device and a precision.

    Args:
        precision: see `choose_precision`.
        batch_shots: shots that torch computes at a time; by default, what fits the cache.
        threads: that torch uses for large batches; by default those it has.
        native: whether an engine in C++ may be used, for separable networks on a CPU. In int8 the logits are
            the same bits without; in float32 they differ by rounding.

    Raises:
        ValueError: the network or the device does not have this precision.
        QuantizationError: int8 cannot hold this network; also a ValueError.
    """
    config = network.config
    chosen = choose_precision(precision, quantized=config.integers, device_type=device.type)
    if chosen == "int8":
        tables = QuantizedTables(layout, network, moves)
        engine = native_or_none(partial(NativeIntegerNetwork, tables)) if native else None
        return engine or ReferenceIntegerNetwork(tables)
    if chosen == "float32" and native and device.type == "cpu" and NativeNetwork.runs(config):
        engine = native_or_none(partial(NativeNetwork, layout, network, moves))
        if engine is not None:
            return engine
    return TorchEngine(
        layout,
        network,
        moves,
        device=device,
        precision=chosen,
        batch_shots=batch_shots,
        threads=threads,
    )


class TorchEngine:
    """torch, in batches of shots, or of tiles where one shot is large."""

    lanes = 1

    def __init__(
        self,
        layout: DetectorLayout,
        network: Network,
        moves: MoveSet,
        *,
        device: torch.device,
        precision: Precision = "float32",
        batch_shots: int | None = None,
        threads: int | None = None,
    ) -> None:
        """`batch_shots` is by default what fits the cache; `threads` are those that torch has.

        Raises:
            ValueError: torch does not compute in this precision.
        """
        if precision == "int8":
            raise ValueError("torch computes in float32 or bfloat16; make_engine has engines for int8")
        self.precision: Precision = precision
        self._threads = threads
        self.batch_shots = batch_shots or fitting_shots(layout)
        blocks = int(np.prod(layout.shape)) // 8
        self._macs = blocks * network.config.macs_per_block
        self._tile = _tile_size(layout.shape) if blocks > _BLOCKS_PER_TILE else None
        self._network, self._device = network.to(device), device
        self._input = NetworkInput(layout)
        self._places = blocked_places(layout, moves)
        self._rates = blocked_rates(layout, moves) if network.config.rates else None

    def __call__(self, packed: np.ndarray) -> np.ndarray:
        """The network's logits of all moves: float32 `(B, M)`."""
        starts = range(0, max(1, len(packed)), self.batch_shots)
        return np.concatenate([self._batch(packed[start : start + self.batch_shots]) for start in starts])

    def _batch(self, packed: np.ndarray) -> np.ndarray:
        import torch

        from predecoder.inference import running
        from predecoder.inference import infer_tiled

        given = [
            torch.from_numpy(a).to(self._device).permute(0, 4, 1, 2, 3)
            for a in (self._input(packed), self._rates)
            if a is not None
        ]
        work = self._macs * len(packed)
        with running(self._device, self.precision, work=work, threads=self._threads):
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
