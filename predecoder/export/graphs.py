"""The two graphs: detections to logits, and detections to what committed moves leave of them and flip.

The policy `threshold` commits a cluster of proposed moves if the network is sure of all of them. Here doubt
spreads instead: a proposed move below the commit threshold is doubtful, and so is one that shares a detector
with a doubtful one. A static graph takes a fixed number of such steps; where doubt would have gone on, it
says so of the shot (`settled`). That concerns the choice of moves alone: residual and flips describe the
same shot in any case.

Bits are float32 0/1, one element each. Counts are small whole numbers, so that parities are exact.

Shape legend: B shots, D detectors, O observables, M moves in the order of `MoveSet`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from predecoder.correction import ThresholdPolicy
from predecoder.export.operations import Operations
from predecoder.export.tables import MoveTables, NetworkTables

__all__ = ["Graph", "JoinedGraph", "LogitsGraph", "Output", "ResidualGraph"]


@dataclass(frozen=True)
class Output:
    """An output of a graph, of shape (shots, elements)."""

    name: str
    dtype: str
    elements: int
    meaning: str


class Graph(Protocol):
    """A graph with one input, uint8 0/1 `(B, D)`."""

    input: ClassVar[str]
    """The name of the input."""

    @property
    def num_detectors(self) -> int:
        """D."""
        ...

    @property
    def outputs(self) -> tuple[Output, ...]:
        """What `define` gives, in its order."""
        ...

    def define(self, ops: Operations, detections: Any) -> tuple[Any, ...]:
        """Make the outputs of the input."""
        ...


@dataclass(frozen=True, eq=False)
class LogitsGraph:
    """Logits of every move, float32 `(B, M)`."""

    network: NetworkTables
    num_detectors: int
    input: ClassVar[str] = "detections"

    @property
    def outputs(self) -> tuple[Output, ...]:
        """See `Graph`."""
        meaning = "log-odds of each move, in the order of `moves`"
        return (Output("logits", "float32", len(self.network.place), meaning),)

    def define(self, ops: Operations, detections: Any) -> tuple[Any, ...]:
        """See `Graph`."""
        return (_logits(ops, self.network, ops.bits(detections)),)


@dataclass(frozen=True, eq=False)
class ResidualGraph:
    """What the policy `threshold` leaves and flips: uint8 0/1 of three outputs.

    They are the residual `(B, D)`, observable flips `(B, O)`, and `(B, 1)` whether doubt had stopped
    spreading.

    Attributes:
        steps: from move to move that doubt spreads; of no matter where the policy commits all.
    """

    network: NetworkTables
    moves: MoveTables
    policy: ThresholdPolicy
    steps: int
    input: ClassVar[str] = "detections"

    def __post_init__(self) -> None:
        if self.policy.residual != "any" or self.policy.clustering != "moves":
            raise ValueError(f"a static graph cannot carry out {self.policy}; use the policy 'threshold'")
        if self.steps < 1:
            raise ValueError(f"steps={self.steps} is less than 1")

    @property
    def num_detectors(self) -> int:
        """D."""
        return self.moves.incident.shape[1]

    @property
    def num_observables(self) -> int:
        """O."""
        return self.moves.flipping.shape[1]

    @property
    def outputs(self) -> tuple[Output, ...]:
        """See `Graph`."""
        return (
            Output("residual", "uint8", self.num_detectors, "detections that the committed moves leave, 0/1"),
            Output("flips", "uint8", self.num_observables, "observables that the committed moves flip, 0/1"),
            Output(
                "settled", "uint8", 1, "1 where clusters were followed to their ends: the policy, exactly"
            ),
        )

    def define(self, ops: Operations, detections: Any) -> tuple[Any, ...]:
        """See `Graph`."""
        bits = ops.bits(detections)
        proposed, doubtful = self.doubted(ops, bits)
        residual, flips = self.applied(ops, bits, proposed, doubtful)
        return residual, flips, ops.bytes(self._settled(ops, proposed, doubtful))

    def doubted(self, ops: Operations, bits_BD: Any) -> tuple[Any, Any]:
        """Proposed moves, and those in doubt or None: float32 0/1 `(B, M)`."""
        logits = _logits(ops, self.network, bits_BD)
        propose = ops.constant("policy.propose", np.array([self.policy.propose], np.float32))
        proposed = ops.above(logits, propose)
        if self.policy.commits_all:
            return proposed, None
        commit = ops.constant("policy.commit", np.array([_rounded_up(self.policy.commit)]))
        doubtful = ops.multiply(proposed, ops.below(logits, commit))
        for _ in range(self.steps):
            doubtful = self._spread(ops, doubtful, proposed)
        return proposed, doubtful

    def applied(self, ops: Operations, bits_BD: Any, proposed_BM: Any, doubtful_BM: Any) -> tuple[Any, Any]:
        """Residual `(B, D)` and flips `(B, O)` of the proposed moves without doubt, uint8."""
        committed = proposed_BM if doubtful_BM is None else ops.subtract(proposed_BM, doubtful_BM)
        explained = ops.total(ops.take(committed, "moves.incident", self.moves.incident, zero=True))
        flipped = ops.total(ops.take(committed, "moves.flipping", self.moves.flipping, zero=True))
        residual = _parity(ops, ops.add(bits_BD, explained))
        return ops.bytes(residual), ops.bytes(_parity(ops, flipped))

    def _settled(self, ops: Operations, proposed_BM: Any, doubtful_BM: Any) -> Any:
        """Whether one more step would change nothing: float32 0/1 `(B, 1)`."""
        further = proposed_BM if doubtful_BM is None else self._spread(ops, doubtful_BM, proposed_BM)
        went_on = ops.subtract(further, proposed_BM if doubtful_BM is None else doubtful_BM)
        one = ops.constant("settled.one", np.ones(1, np.float32))
        return ops.subtract(one, ops.largest(went_on, keep=True))

    def _spread(self, ops: Operations, doubtful_BM: Any, proposed_BM: Any) -> Any:
        """Proposed moves that share a detector with a doubtful one, or are doubtful."""
        at_detector = ops.largest(ops.take(doubtful_BM, "moves.near", self.moves.near))
        return ops.multiply(proposed_BM, ops.largest(ops.take(at_detector, "moves.ends", self.moves.ends)))


@dataclass(frozen=True, eq=False)
class JoinedGraph:
    """A residual graph as CUDA-Q QEC's real-time pre-decoder has it: one output of flips, then residual."""

    residual: ResidualGraph
    input: ClassVar[str] = "dets"

    @property
    def num_detectors(self) -> int:
        """D."""
        return self.residual.num_detectors

    @property
    def outputs(self) -> tuple[Output, ...]:
        """See `Graph`."""
        elements = self.residual.num_observables + self.num_detectors
        meaning = "observables that the committed moves flip, then detections that they leave, 0/1"
        return (Output("L_and_residual_dets", "uint8", elements, meaning),)

    def define(self, ops: Operations, detections: Any) -> tuple[Any, ...]:
        """See `Graph`."""
        bits = ops.bits(detections)
        residual, flips = self.residual.applied(ops, bits, *self.residual.doubted(ops, bits))
        return (ops.joined(flips, residual),)


def _logits(ops: Operations, network: NetworkTables, bits_BD: Any) -> Any:
    """float32 `(B, M)` of float32 0/1 `(B, D)`."""
    activated = ops.relu if network.relu else ops.gelu
    x = ops.take(bits_BD, "network.detector", network.detector, zero=True)
    x = ops.convolution(x, "network.embed", network.embed, None)
    x = activated(ops.add(x, ops.constant("network.first_bias", network.first_bias)))
    for number, block in enumerate(network.blocks):
        name = f"network.trunk.{number}"
        of_cells = block.spatial_bias.ndim > 1
        bias = None if of_cells else block.spatial_bias
        hidden = ops.convolution(x, f"{name}.spatial", block.spatial, bias, groups=block.groups)
        if of_cells:
            hidden = ops.add(hidden, ops.constant(f"{name}.position_bias", block.spatial_bias))
        hidden = activated(hidden)
        if block.centre is not None:
            hidden = ops.subtract(hidden, ops.constant(f"{name}.centre", block.centre))
        pointwise = block.pointwise, block.pointwise_bias
        x = ops.add(x, ops.convolution(hidden, f"{name}.pointwise", *pointwise))
    x = ops.convolution(x, "network.head", network.head, network.head_bias)
    return ops.take(ops.flat(x), "network.place", network.place)


def _parity(ops: Operations, count: Any) -> Any:
    half = ops.constant("parity.half", np.array([0.5], np.float32))
    two = ops.constant("parity.two", np.array([2], np.float32))
    return ops.subtract(count, ops.multiply(ops.floor(ops.multiply(count, half)), two))


def _rounded_up(value: float) -> np.float32:
    """The least float32 that is not below a float64: float32 numbers are below both or neither."""
    near = np.float32(value)
    return near if float(near) >= value else np.nextafter(near, np.float32(np.inf))
