"""The reference paper's networks and its measured times, and what the model says of them.

C. Chamberland et al., arXiv:2604.12841. Its networks (table II) are sequences of convolutions that keep the
shape, from 4 input channels to 4 outputs, on the d x d x d cells of d rounds. Table VII gives microseconds a
round of one shot on a GB300, by TensorRT in FP8, as a captured graph, without transfers to or from the host,
for networks 1, 4 and 5; those of networks 2 and 3 are in a figure only, of which the text says that network
3 takes longest at d = 13 and network 5 at d = 31. Table XI gives microseconds a round of 1,000 rounds
that are cut into blocks of d x d x 3d cells, a half of them after the other half, of one, two and four blocks
a batch: two batches' times in 1,000 rounds.

Of the model, the constants of a card are its maker's, but for clock and cache rates, which are guesses.
`SUSTAINED`, `LAUNCH_SECONDS`, `ACTIVATIONS_PER_CLOCK` and `GRAPH_SECONDS` are the same for all cards and were
set to table VII; table XI was on the same screen, so it is a check of batches and longer blocks, but no blind
one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from cuda.qecpipe.cost.cards import card_called
from cuda.qecpipe.cost.estimate import Stage, estimate
from cuda.qecpipe.cost.kernels import convolution

__all__ = [
    "MATCHING_AFTER",
    "NETWORKS",
    "Comparison",
    "Network",
    "compare_with_paper",
    "network_stages",
]

Activation = Literal["gelu", "relu"]


@dataclass(frozen=True)
class Network:
    """Convolutions: `channels` out of each, all of a kernel of `size` cells a side."""

    channels: tuple[int, ...]
    size: int


NETWORKS = {
    1: Network((128, 128, 128, 4), 3),
    2: Network((256, 256, 256, 4), 3),
    3: Network((128, 128, 128, 4), 5),
    4: Network((128, 128, 128, 128, 128, 4), 3),
    5: Network((256, 256, 256, 256, 256, 4), 3),
}
_INPUTS = 4

_TABLE_VII: dict[tuple[int, Activation], dict[int, float]] = {
    (1, "gelu"): {13: 2.397, 21: 1.872, 31: 2.609},
    (4, "gelu"): {13: 3.252, 21: 2.703, 31: 3.774},
    (5, "gelu"): {13: 4.364, 21: 5.056, 31: 9.263},
    (1, "relu"): {13: 2.297, 21: 1.719, 31: 2.139},
    (4, "relu"): {13: 3.091, 21: 2.312, 31: 2.892},
    (5, "relu"): {13: 4.201, 21: 3.746, 31: 6.511},
}
"""Microseconds a round, by network and activation, and distance."""
_TABLE_XI: dict[int, dict[tuple[int, int], float]] = {
    1: {(13, 1): 0.11, (13, 2): 0.13, (13, 4): 0.179, (21, 1): 0.179, (21, 2): 0.244, (21, 4): 0.423},
    4: {(13, 1): 0.138, (13, 2): 0.211, (13, 4): 0.282, (21, 1): 0.231, (21, 2): 0.324, (21, 4): 0.551},
}
"""Microseconds a round, by network, and distance and batch; its activation is not said, GELU is assumed."""
_ROUNDS_XI = 1000

MATCHING_AFTER: dict[float, dict[int, dict[int, float]]] = {
    0.003: {
        0: {13: 3.38, 21: 13.41, 31: 28.78},
        1: {13: 1.32, 21: 5.26, 31: 11.92},
        4: {13: 1.22, 21: 4.92, 31: 10.81},
        5: {13: 1.20, 21: 4.80, 31: 10.70},
    },
    0.006: {
        0: {13: 9.97, 21: 29.95, 31: 91.06},
        1: {13: 3.05, 21: 11.30, 31: 30.45},
        4: {13: 2.55, 21: 9.26, 31: 22.86},
        5: {13: 2.38, 21: 8.43, 31: 20.50},
    },
}
"""Table VII's microseconds a round of PyMatching behind a network (0: without one), by p, network and d, on a
core of a Grace processor."""


@dataclass(frozen=True)
class Comparison:
    """A measured time and the model's, both in microseconds a round.

    Attributes:
        network: the paper's number.
        activation: of its hidden layers.
        distance: of the code.
        batch: shots, or blocks, at a time.
        table: of the paper.
        fitted: whether constants of the model were chosen with this table in view.
    """

    network: int
    activation: Activation
    distance: int
    batch: int
    table: str
    fitted: bool
    measured: float
    predicted: float
    binding: str

    @property
    def ratio(self) -> float:
        """Predicted over measured."""
        return self.predicted / self.measured


def network_stages(
    network: int, *, cells: int, activation: Activation, precision: str = "fp8"
) -> list[Stage]:
    """The convolutions of one of the paper's networks on so many cells."""
    of, inputs, stages = NETWORKS[network], _INPUTS, []
    for number, outputs in enumerate(of.channels, 1):
        kernel = convolution(
            f"convolution {number}",
            cells=cells,
            inputs=inputs,
            outputs=outputs,
            taps=of.size**3,
            precision=precision,
            activation=activation == "gelu" and number < len(of.channels),
        )
        stages.append(Stage(kernel.name, (kernel,)))
        inputs = outputs
    return stages


def compare_with_paper() -> Iterator[Comparison]:
    """Every measured time of the tables, beside the model's."""
    card = card_called("GB300")

    def predicted(network: int, activation: Activation, cells: int) -> tuple[float, str]:
        found = estimate(network_stages(network, cells=cells, activation=activation), card, shots=1)
        return found.alone * 1e6, found.alone_binding

    for (network, activation), by_distance in _TABLE_VII.items():
        for d, measured in by_distance.items():
            shot, binding = predicted(network, activation, d**3)
            yield Comparison(network, activation, d, 1, "VII", True, measured, shot / d, binding)
    for network, by_size in _TABLE_XI.items():
        for (d, batch), measured in by_size.items():
            blocks, binding = predicted(network, "gelu", batch * 3 * d**3)
            of_round = 2 * blocks / _ROUNDS_XI
            yield Comparison(network, "gelu", d, batch, "XI", False, measured, of_round, binding)
