"""A separable network in float32, eight shots side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

import _qecpipe
from predecoder.inference.native_volumes import NativeVolumes
from predecoder.inference.network_tables import first_layer_bias, float_tables, position_bias
from predecoder.inference.precision import Precision
from predecoder.inference.table_layout import cells
from qec import DecodingProblem

if TYPE_CHECKING:
    from predecoder.network import Network, NetworkConfig, SeparableNetwork

__all__ = ["NativeNetwork"]

_TILE, _LANES = 4, 8


class NativeNetwork(NativeVolumes):
    """Logits of a separable network that agree with torch's up to rounding, several times faster."""

    lanes = _LANES
    precision: Precision = "float32"

    def __init__(self, problem: DecodingProblem, network: Network, *, instruction_set: str = "") -> None:
        """Copy the weights.

        Args:
            instruction_set: one of `_qecpipe.instruction_sets()`; by default the best one here.

        Raises:
            ValueError: the network is not of the kind that `runs` tells, or there is no such instruction set.
        """
        config = network.config
        if not self.runs(config):
            raise ValueError(
                f"the native engine runs separable networks of 8, 16, 24, ... channels, not {config}"
            )
        separable = cast("SeparableNetwork", network)
        added, kind = position_bias(separable, cells(problem.layout.detector_grid) >= 0)
        tables = float_tables(separable)
        tables |= {name: _tiled(tables[name]) for name in ("pointwise", "head")}
        tables |= {
            "first_layer_bias": first_layer_bias(separable, problem),
            "position_bias": added,
            "kind": kind,
        }
        super().__init__(
            *(_qecpipe.Float32Batch, tables, problem.layout, problem.moves),
            channels=config.channels,
            reach=config.halo[0],
            instruction_set=instruction_set,
        )

    @staticmethod
    def runs(config: NetworkConfig) -> bool:
        """Whether the engine can run such a network."""
        return config.family != "dense" and config.channels % _LANES == 0


def _tiled(weight: np.ndarray) -> np.ndarray:
    """Weights of a pointwise convolution `(..., o, C)` as `(..., o / 4, C, 4)`: four outputs at a time."""
    *many, outputs, inputs = weight.shape
    return weight.reshape(*many, outputs // _TILE, _TILE, inputs).swapaxes(-2, -1)
