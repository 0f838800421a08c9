"""A network on the layers of a stream, whose experiments have any number of rounds.

Shape legend: T layers, (I, J) the ancilla grid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from global_decoders.windows import LayeredDem
from predecoder.correction.stream_layers import StreamLayers
from predecoder.correction.stream_noise_features import StreamNoiseFeatures
from predecoder.inference import LayerInputs, LayerNetwork, Repeats
from qec import DecodingProblem

if TYPE_CHECKING:
    from predecoder.network import Network

__all__ = ["stream_network"]

_REACH = 2
"""Layers on either side that a network's biases depend on (`PatchEmbedding.REACH`)."""


def stream_network(
    problem: DecodingProblem,
    network: Network,
    *,
    layers: LayeredDem,
    precision: Literal["float32", "int8"],
    instruction_set: str = "",
) -> LayerNetwork:
    """Return a network for experiments of all numbers of rounds that a DEM's layers can make.

    Args:
        problem: of the DEM that `layers` was read from.
        network: a separable one.
        layers: of the DEM.
        precision: what it computes in.
        instruction_set: one of `_qecpipe.instruction_sets()`; by default the best one here.

    Raises:
        QuantizationError: int8 cannot hold this network; also a ValueError.
        ValueError: the network is not separable, or layers and problem are of different DEMs.
    """
    stream_layers = StreamLayers(problem.layout, layers)
    source, cycle = len(layers.source), layers.cycle
    longest, repeats = source, Repeats()
    if cycle:
        # Enough layers for both kinds of ends, after an odd and after an even number of them, and for one
        # cycle that sees neither end nor beginning.
        tail = stream_layers.ending + _REACH + 1
        first = layers.cut - cycle + _REACH
        while longest + longest % 2 < first + cycle + tail:
            longest += cycle
        longest += cycle
        repeats = Repeats(first, cycle, tail, ahead=max(0, stream_layers.ending - 1))
    features = StreamNoiseFeatures(problem, stream_layers) if network.config.noise_conditioned else None
    experiments = {
        n: _inputs(problem, layers.with_layers(n), features)
        for n in range(1, longest + 1)
        if layers.can_have(n)
    }
    return LayerNetwork(
        network, experiments, repeats=repeats, precision=precision, instruction_set=instruction_set
    )


def _inputs(
    problem: DecodingProblem, layers: LayeredDem, features: StreamNoiseFeatures | None
) -> LayerInputs:
    """An experiment's layers as a network is told of them."""
    area = problem.layout.shape[1:]
    padded = layers.num_layers + layers.num_layers % 2
    cells = problem.layout.flat_voxels % int(np.prod(area))
    present = np.zeros((padded, int(np.prod(area))), dtype=bool)
    for t in range(layers.num_layers):
        present[t, cells[layers.source_detectors[layers.source_layer(t)[0]]]] = True
    noise = None if features is None else features.of(0, padded, num_layers=layers.num_layers)
    return LayerInputs.of_grids(present.reshape(padded, *area), noise)
