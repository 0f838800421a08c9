"""A network in C++, on bit-packed shots of one layout: a separable one, or a dense one in int8.

Shape legend: B shots, M moves of `MoveSet`, D detectors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

import numpy as np

import _qecpipe
from predecoder.inference.dense_tables import DenseTables
from predecoder.inference.layer_kinds import LayerInputs
from predecoder.inference.network_tables import FloatTables
from predecoder.inference.precision import Precision, PrecisionChoice
from predecoder.inference.quantized_tables import QuantizedTables
from qec import DecodingProblem

if TYPE_CHECKING:
    from predecoder.network import DenseNetwork, Network, SeparableNetwork

__all__ = ["NativeEngine", "native_network", "native_tables"]

Tables = FloatTables | QuantizedTables | DenseTables


class NativeEngine:
    """Logits of a network: of one shot as fast as of many, one after another.

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
    def runs(network: Network, precision: PrecisionChoice) -> bool:
        """Whether the engine can run a network in a precision; 'auto' is the network's own."""
        if network.config.family == "dense" and precision != "int8":
            return False
        if precision == "int8":
            return network.int8 != "none"
        return precision in ("auto", "float32")


def native_tables(
    network: Network, experiments: list[LayerInputs], *, precision: Literal["float32", "int8"]
) -> Tables:
    """Return a network's tables on the layers of some experiments.

    Raises:
        QuantizationError: int8 cannot hold this network; also a ValueError.
        ValueError: the engine does not run the network in this precision.
    """
    if network.config.family == "dense":
        if precision != "int8":
            raise ValueError(f"in float32 the native engine runs separable networks, not {network.config}")
        return DenseTables(cast("DenseNetwork", network), experiments)
    if precision == "int8":
        return QuantizedTables(network, experiments)
    return FloatTables(cast("SeparableNetwork", network), experiments)


def native_network(tables: Tables, *, instruction_set: str = "") -> _qecpipe.Network:
    """Put tables in order for an instruction set, by default the best one here.

    Raises:
        ValueError: there is no such instruction set here.
    """
    make = _qecpipe.Network.int8 if tables.precision == "int8" else _qecpipe.Network.float32
    if isinstance(tables, DenseTables):
        make = _qecpipe.Network.dense_int8
    return make(tables.arrays, instruction_set=instruction_set)
