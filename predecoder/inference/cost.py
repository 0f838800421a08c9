"""What a decoder with a network takes on a GPU: stages, of an experiment's size and a network's shape.

Shape legend: D detectors, M moves, (t, i, j) blocks, cells: blocks, or with time_fold 1 their layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cuda.qecpipe.cost import ELEMENT_BYTES, Kernel, Stage, convolution, elementwise
from predecoder.blocking import INPUT_CHANNELS, MOVE_CHANNELS

if TYPE_CHECKING:
    from predecoder.network import NetworkConfig
    from qec import DecodingProblem

__all__ = ["CostedDecoder", "Volume", "host_seconds", "network_stages", "pipeline_stages", "training_stages"]

CostedDecoder = Literal["neural-matching", "predecoder+pymatching"]
_TAPS = 27
_FLOAT32_BYTES = 4
_BACKWARD = 2
"""Convolutions that a backward pass does for each one of the forward pass: to inputs, and to weights."""


@dataclass(frozen=True)
class Volume:
    """How large a shot is.

    Attributes:
        distance, rounds: of the experiment.
        blocks: (t, i, j).
        detectors, moves: D and M.
        observables: that are predicted.
    """

    distance: int
    rounds: int
    blocks: tuple[int, int, int]
    detectors: int
    moves: int
    observables: int = 1

    @classmethod
    def of_memory(cls, distance: int, rounds: int) -> Volume:
        """That of a memory experiment of a square patch, without making one; d even: a detector more or less.

        Raises:
            ValueError: no such experiment.
        """
        if distance < 2 or rounds < 1:
            raise ValueError(f"{distance=}, {rounds=}: give a distance of 2 or more and a round or more")
        side = (distance + 2) // 2  # blocks of distance + 1 ancilla sites
        detectors = rounds * (distance**2 - 1)
        moves = rounds * 2 * distance**2 + detectors
        return cls(distance, rounds, ((rounds + 2) // 2, side, side), detectors, moves)

    @classmethod
    def of_problem(cls, problem: DecodingProblem) -> Volume:
        """That of a problem, which has a round less than layers."""
        layout = problem.layout
        t, i, j = (n // 2 for n in layout.shape)
        return cls(
            distance=min(layout.rows, layout.columns) - 1,
            rounds=layout.layers - 1,
            blocks=(t, i, j),
            detectors=layout.num_detectors,
            moves=problem.moves.num_moves,
            observables=layout.num_observables,
        )

    @property
    def num_blocks(self) -> int:
        """t * i * j."""
        return math.prod(self.blocks)


def pipeline_stages(
    config: NetworkConfig,
    volume: Volume,
    *,
    p: float,
    shots: int,
    precision: str,
    decoder: CostedDecoder = "neural-matching",
    fused: bool = False,
) -> list[Stage]:
    """Stages of a batch of `shots`, from packed detections to predictions.

    Args:
        p: physical error rate of uniform depolarizing noise, which the host's time depends on.
        precision: that the network computes in.
        fused: whether what follows a convolution (bias, nonlinearity, sum) is a part of its kernel, as in
            TensorRT; by torch each is a kernel of its own.

    Raises:
        ValueError: an unknown decoder.
    """
    size, packed = ELEMENT_BYTES[precision], shots * -(-volume.detectors // 8)
    output = shots * volume.num_blocks * MOVE_CHANNELS * size
    made = shots * volume.num_blocks * INPUT_CHANNELS * size
    last: list[Stage]
    if decoder == "neural-matching":
        bytes_down = float(shots * volume.moves * (_FLOAT32_BYTES if precision == "float32" else 1))
        kernel = elementwise("quantize_moves", read=output, written=bytes_down, precision=precision)
        last = [Stage("quantize", (kernel,))]
    elif decoder == "predecoder+pymatching":
        words = 4 * shots * (-(-volume.moves // 32) + -(-volume.detectors // 32))
        kernel = elementwise("correct", read=output + packed, written=words, precision=precision)
        last = [Stage("threshold, residual", (kernel,))]
        bytes_down = float(packed + shots * -(-volume.observables // 8))
    else:
        raise ValueError(f"{decoder=} has no cost model; use 'neural-matching' or 'predecoder+pymatching'")
    unpack = elementwise("blocked_input", read=packed, written=made, precision=precision)
    return [
        Stage("upload", link_bytes=float(packed)),
        Stage("unpack", (unpack,)),
        *network_stages(config, volume.num_blocks * shots, precision=precision, fused=fused),
        *last,
        Stage("download", link_bytes=bytes_down),
        Stage("matching", host_seconds=shots * host_seconds(decoder, volume, p=p)),
    ]


def network_stages(config: NetworkConfig, blocks: int, *, precision: str, fused: bool) -> list[Stage]:
    """Stages of a network's forward pass on so many blocks of all shots: its layers."""
    layers = _Layers(blocks * 2 // config.time_fold, precision, fused)
    channels, per_cell = config.channels, config.time_fold / 2
    inputs, outputs = round(INPUT_CHANNELS * per_cell), round(MOVE_CHANNELS * per_cell)
    stages = [Stage("first layer", layers.convolution(inputs, channels, taps=_TAPS, activation=True))]
    for number in range(1, config.residual_blocks + 1):
        if config.family == "dense":
            spatial = layers.convolution(channels, channels, taps=_TAPS, activation=True)
        else:
            spatial = layers.depthwise(channels)
        pointwise = layers.convolution(channels, channels, taps=1, added=True)
        stages.append(Stage(f"block {number}", (*spatial, *pointwise)))
    taps = _TAPS if config.family == "dense" else 1
    return [*stages, Stage("last layer", layers.convolution(channels, outputs, taps=taps))]


def training_stages(config: NetworkConfig, blocks: int, *, precision: str) -> list[Stage]:
    """Stages of a forward and a backward pass on so many blocks, by torch."""
    forward = network_stages(config, blocks, precision=precision, fused=False)
    return [
        *forward,
        *(Stage(f"{stage.name}, backward", stage.kernels * _BACKWARD) for stage in reversed(forward)),
    ]


@dataclass(frozen=True)
class _Layers:
    """Kernels of layers on so many cells."""

    cells: int
    precision: str
    fused: bool

    def convolution(
        self, inputs: int, outputs: int, *, taps: int, activation: bool = False, added: bool = False
    ) -> tuple[Kernel, ...]:
        """A dense convolution, and what is behind it."""
        kernel = convolution(
            f"convolution {taps}",
            cells=self.cells,
            inputs=inputs,
            outputs=outputs,
            taps=taps,
            precision=self.precision,
            activation=activation and self.fused,
            added=added and self.fused,
        )
        if self.fused:
            return (kernel,)
        passes = [("bias", 1), *([("activation", 1)] if activation else []), *([("sum", 2)] if added else [])]
        return (kernel, *(self._pass(name, outputs, reads=reads) for name, reads in passes))

    def depthwise(self, channels: int) -> tuple[Kernel, ...]:
        """A stencil for every channel and a maximum with zero: no matrix product, so bound by memory."""
        size = ELEMENT_BYTES[self.precision] * self.cells * channels
        operations = 2.0 * _TAPS * self.cells * channels
        stencil = elementwise(
            "stencil", read=size, written=size, precision=self.precision, operations=operations
        )
        behind = () if self.fused else (self._pass("bias", channels), self._pass("maximum", channels))
        return (stencil, *behind)

    def _pass(self, name: str, channels: int, *, reads: int = 1) -> Kernel:
        size = ELEMENT_BYTES[self.precision] * self.cells * channels
        return elementwise(name, read=reads * size, written=size, precision=self.precision)


_HOST_MICROSECONDS: dict[str, Mapping[float, Mapping[int, float]]] = {
    "neural-matching": {
        0.003: {5: 0.71, 9: 2.8, 13: 15.9, 21: 51, 31: 338},
        0.006: {5: 1.14, 9: 9.8, 13: 25, 21: 225, 31: 1048},
    },
    "predecoder+pymatching": {
        0.003: {5: 0.39, 9: 3.8, 13: 19.3, 21: 118},
        0.006: {5: 0.86, 9: 23.8, 13: 78, 21: 630},
    },
}
"""Microseconds of one core for a shot of d rounds, by decoder, p and d: the matching on the logits of
`accurate` in float32, and PyMatching on what its threshold policy leaves. Process time of an EPYC core of the
Zen 4 generation, other work beside it; 6 to 400 shots a cell."""


def host_seconds(decoder: CostedDecoder, volume: Volume, *, p: float) -> float:
    """Seconds of one core for a shot: measured ones, and powers of d and p between and beyond them."""
    by_p = {rate: _power(of, volume.distance) for rate, of in _HOST_MICROSECONDS[decoder].items()}
    return 1e-6 * _power(by_p, p) * volume.rounds / volume.distance


def _power(values: Mapping[float, float] | Mapping[int, float], at: float) -> float:
    """The value at a place, by the power law through the two nearest places."""
    places = sorted(values)
    above = min(max(1, sum(place < at for place in places)), len(places) - 1)
    low, high = places[above - 1], places[above]
    exponent = math.log(values[high] / values[low]) / math.log(high / low)  # pyright: ignore[reportArgumentType]
    return values[low] * (at / low) ** exponent  # pyright: ignore[reportArgumentType]
