"""A separable network in C++, on bit-packed shots of one layout.

Shape legend: B shots, M moves of `MoveSet`, D detectors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

import numpy as np

import _qecpipe
from predecoder.inference.layer_kinds import LayerInputs
from predecoder.inference.network_tables import FloatTables
from predecoder.inference.precision import Precision
from predecoder.inference.quantized_tables import QuantizedTables
from qec import DecodingProblem

if TYPE_CHECKING:
    from predecoder.network import Network, NetworkConfig, SeparableNetwork

__all__ = ["NativeEngine", "native_network", "native_tables"]


class NativeEngine:
    """Logits of a separable network: of one shot as fast as of many, one after another.

    In float32 they agree with torch's up to rounding; in int8 they are the same bits on every machine.

    Attributes:
        precision: float32 or int8.
        instruction_set: what it runs on, of `_qecpipe.instruction_sets()`.
    """

    def __init__(
        self,
        problem: DecodingProblem,
        network: Network,
        *,
        precision: Literal["float32", "int8"],
        instruction_set: str = "",
    ) -> None:
        """Copy the weights.

        Args:
            instruction_set: by default the best one here.

        Raises:
            QuantizationError: int8 cannot hold this network; also a ValueError.
            ValueError: the network is not of the kind that `runs` tells, or there is no such instruction set.
        """
        inputs = LayerInputs.of_problem(problem, noise_conditioned=network.config.noise_conditioned)
        tables = native_tables(network, [inputs], precision=precision)
        compiled = native_network(tables, instruction_set=instruction_set)
        layout, (timeline,) = problem.layout, tables.timelines
        self.precision: Precision = precision
        self.instruction_set = compiled.instruction_set
        self._engine = _qecpipe.Engine(
            compiled,
            _qecpipe.Timeline({layout.layers: timeline}),
            layers=layout.layers,
            places=layout.flat_voxels.astype(np.int64),
            moves=problem.moves.positions.astype(np.int64),
        )

    def __call__(self, packed: np.ndarray) -> np.ndarray:
        """Logits float32 `(B, M)` of uint8 `(B, ceil(D / 8))`, LSB first; threads may call at once.

        Raises:
            ValueError: the shots have another type or length.
        """
        return self._engine.run(packed)

    @staticmethod
    def runs(config: NetworkConfig) -> bool:
        """Whether the engine can run such a network."""
        return config.family != "dense"


def native_tables(
    network: Network, experiments: list[LayerInputs], *, precision: Literal["float32", "int8"]
) -> FloatTables | QuantizedTables:
    """Return a network's tables on the layers of some experiments.

    Raises:
        QuantizationError: int8 cannot hold this network; also a ValueError.
        ValueError: the network is not separable.
    """
    if not NativeEngine.runs(network.config):
        raise ValueError(f"the native engine runs separable networks, not {network.config}")
    if precision == "int8":
        return QuantizedTables(network, experiments)
    return FloatTables(cast("SeparableNetwork", network), experiments)


def native_network(tables: FloatTables | QuantizedTables, *, instruction_set: str = "") -> _qecpipe.Network:
    """Put tables in order for an instruction set, by default the best one here.

    Raises:
        ValueError: there is no such instruction set here.
    """
    make = _qecpipe.Network.int8 if tables.precision == "int8" else _qecpipe.Network.float32
    return make(tables.arrays, instruction_set=instruction_set)
