"""An exported graph against the float32 engine on the same shots: what differs, and what it costs.

Shape legend: B shots, D detectors, O observables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from global_decoders import compile_normal_form, make_decoder
from predecoder.correction import MatchingDecision, Residual, ResidualNetwork, make_decision
from predecoder.export.graphs import Graph, JoinedGraph, LogitsGraph
from predecoder.inference import EngineOptions
from predecoder.weights import Bundle
from qec import DecodingProblem

__all__ = ["Agreement", "Reference"]


@dataclass(frozen=True)
class Agreement:
    """Counts of shots.

    Attributes:
        shots: in all.
        errors, engine_errors: that the exported graph and the engine decode wrongly.
        only_exported, only_engine: that only one of them does.
        different: with another residual or other flips; of logits, with other matched moves.
        unsettled: for which a residual graph did not follow all clusters to their ends.
    """

    shots: int
    errors: int
    engine_errors: int
    only_exported: int
    only_engine: int
    different: int
    unsettled: int

    def __add__(self, more: Agreement) -> Agreement:
        return Agreement(*(a + b for a, b in zip(vars(self).values(), vars(more).values(), strict=True)))


class Reference:
    """The engine in float32: `predecoder+pymatching` for residuals, `neural-matching` for logits."""

    def __init__(self, problem: DecodingProblem, bundle: Bundle, graph: Graph) -> None:
        """Prepare engine, decision and decoder for a graph."""
        self._graph, self._layout = graph, problem.layout
        self._of_logits = isinstance(graph, LogitsGraph)
        self._network = ResidualNetwork(
            problem,
            bundle.network if self._of_logits else bundle.removal_network,
            EngineOptions("cpu", precision="float32"),
        )
        self._decide = (
            MatchingDecision(problem)
            if self._of_logits
            else make_decision(bundle.policies, "threshold", problem)
        )
        self._decoder = compile_normal_form(make_decoder("pymatching"), problem.normal)
        self._apply = Residual(problem.moves)

    def compare(
        self, exported: Callable[[np.ndarray], list[np.ndarray]], packed: np.ndarray, truth: np.ndarray
    ) -> Agreement:
        """Decode shots by both.

        Args:
            exported: uint8 0/1 `(B, D)` to all outputs of the graph.
            packed: uint8 `(B, ceil(D / 8))`, LSB first: detections.
            truth: uint8 `(B, ceil(O / 8))`: observable flips.
        """
        logits = self._network.logits(packed)
        ours = self._applied(logits, packed)
        theirs, unsettled = self._exported(exported, packed)
        wrong, engine_wrong = ((self._predicted(*one) != truth).any(axis=1) for one in (theirs, ours))
        different = np.zeros(len(packed), bool)
        for one, other in zip(theirs, ours, strict=True):
            different |= (one != other).any(axis=1)
        return Agreement(
            shots=len(packed),
            errors=int(wrong.sum()),
            engine_errors=int(engine_wrong.sum()),
            only_exported=int((wrong & ~engine_wrong).sum()),
            only_engine=int((engine_wrong & ~wrong).sum()),
            different=int(different.sum()),
            unsettled=unsettled,
        )

    def _applied(self, logits: np.ndarray, packed: np.ndarray) -> tuple[np.ndarray, ...]:
        """What the decision on logits leaves and flips, packed; of logits to match, its moves too."""
        moves = self._decide(logits, packed)
        applied = self._apply(packed, moves)
        return (*applied, moves) if self._of_logits else applied

    def _exported(
        self, exported: Callable[[np.ndarray], list[np.ndarray]], packed: np.ndarray
    ) -> tuple[tuple[np.ndarray, ...], int]:
        """The same of the exported graph, and how many shots it says were not settled."""
        bits = np.unpackbits(packed, axis=1, count=self._layout.num_detectors, bitorder="little")
        outputs = exported(bits)
        if self._of_logits:
            return self._applied(outputs[0], packed), 0
        if isinstance(self._graph, JoinedGraph):
            flips, residual = np.split(outputs[0], [self._layout.num_observables], axis=1)
            return (_packed(residual), _packed(flips)), 0
        residual, flips, settled = outputs
        return (_packed(residual), _packed(flips)), int((settled == 0).sum())

    def _predicted(self, residual: np.ndarray, flips: np.ndarray, *_: np.ndarray) -> np.ndarray:
        """Observable flips, packed; a matched residual is empty."""
        if self._of_logits:
            return flips
        return flips ^ self._decoder.decode_shots_bit_packed(bit_packed_detection_event_data=residual)


def _packed(bits: np.ndarray) -> np.ndarray:
    return np.packbits(bits, axis=1, bitorder="little")
