"""A separable network in C++ on the layers of a stream, whose length is not known before it ends.

Shape legend: (I, J) the ancilla grid, S layers that were read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from global_decoders.windows import LayeredDem
from predecoder.inference import LayerInputs, LayerNetwork, Repeats
from qec import DecodingProblem

if TYPE_CHECKING:
    from predecoder.network import Network

__all__ = ["can_stream", "stream_network"]

_REACH = 2
"""Layers on either side that a network's biases of a layer depend on: of the patch embedding, at most."""


def can_stream(layers: LayeredDem) -> bool:
    """Whether experiments of all lengths are made of a few: those of even and odd ones are told apart."""
    return layers.cycle <= 1 or layers.cycle % 2 == 0


def stream_network(
    problem: DecodingProblem,
    network: Network,
    layers: LayeredDem,
    *,
    precision: Literal["float32", "int8"],
) -> LayerNetwork:
    """The network with its biases in experiments of any number of layers.

    Args:
        problem: an experiment of any number of rounds on the patch.
        network: separable.
        layers: of the problem's DEM, of which `can_stream`.

    Raises:
        QuantizationError: int8 cannot hold this network; also a ValueError.
    """
    present = problem.layout.detector_grid >= 0
    features = problem.noise_features if network.config.noise_conditioned else None

    def inputs(num_layers: int) -> LayerInputs:
        experiment = layers.with_layers(num_layers)
        sources = [experiment.source_layer(t)[0] for t in range(num_layers)]
        odd = num_layers % 2
        here = np.pad(present[sources], [(0, odd), (0, 0), (0, 0)])
        if features is None:
            return LayerInputs.of_grids(here, None)
        return LayerInputs.of_grids(here, np.pad(features[:, sources], [(0, 0), (0, odd), (0, 0), (0, 0)]))

    repeats = _repeats(present, features, layers)
    longest = len(layers.source)
    if layers.cycle:
        while longest - repeats.tail - repeats.first < 2 * layers.cycle:
            longest += layers.cycle
    lengths = [n for n in range(1, longest + 1) if layers.can_have(n)]
    return LayerNetwork(network, {n: inputs(n) for n in lengths}, repeats=repeats, precision=precision)


def _repeats(present: np.ndarray, features: np.ndarray | None, layers: LayeredDem) -> Repeats:
    """Where the layers of long experiments look alike to a network."""
    cut, cycle, size = layers.cut, layers.cycle, len(layers.source)
    if not cycle:
        return Repeats()
    looks = [
        present[t].tobytes() + (b"" if features is None else features[:, t].tobytes()) for t in range(size)
    ]
    # The last layers that do not go on as those before them.
    unlike = size - cut
    while unlike and looks[size - unlike] == looks[cut - cycle + (size - unlike - cut) % cycle]:
        unlike -= 1
    first = cut - cycle
    while first and looks[first - 1] == looks[first - 1 + cycle]:
        first -= 1
    tail = unlike + _REACH
    return Repeats(first=first + _REACH, period=cycle, tail=tail + tail % 2 + 2, ahead=max(0, tail - 1))
