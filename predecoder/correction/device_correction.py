"""Decisions that a device carries out itself, beside the network: threshold policies."""

from __future__ import annotations

from collections.abc import Sequence

from cuda.qecpipe import CommitRule, Corrections, CorrectionTables
from predecoder.blocking import blocked_places
from predecoder.correction.clusters import ClusterDecision
from predecoder.correction.decision import Decision
from predecoder.inference import DeviceEngine, Engine
from qec import DecodingProblem

__all__ = ["DeviceCorrection"]


class DeviceCorrection:
    """What devices are told of the decisions about one problem."""

    def __init__(self, problem: DecodingProblem, engine: Engine) -> None:
        self._problem = problem
        self._corrects = isinstance(engine, DeviceEngine) and engine.corrects
        self._known: tuple[Decision, Corrections] | None = None

    def of(self, decisions: Sequence[Decision]) -> Corrections | None:
        """What a device does for a decision; None for others than threshold policies, or for several."""
        if not self._corrects or len(decisions) != 1 or not isinstance(decisions[0], ClusterDecision):
            return None
        if self._known is None or self._known[0] is not decisions[0]:
            self._known = decisions[0], self._made(decisions[0])
        return self._known[1]

    def _made(self, decision: ClusterDecision) -> Corrections:
        layout, moves, policy = self._problem.layout, self._problem.moves, decision.policy
        tables = CorrectionTables(
            moves.ends,
            blocked_places(layout, moves),
            moves.observables,
            num_detectors=layout.num_detectors,
            hyperedges=None if decision.hyperedges is None else decision.hyperedges.nodes,
        )
        rule = CommitRule(policy.propose, policy.commit, empty_residual=policy.residual == "empty")
        return Corrections(tables, rule)
