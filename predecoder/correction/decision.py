"""Decisions: policies carried out on the logits of whole shots."""

from __future__ import annotations

from typing import Protocol, get_args

import numpy as np
import sinter

from global_decoders.matching import Logits
from predecoder.correction.clusters import ClusterDecision
from predecoder.correction.consistent import ConsistentDecision
from predecoder.correction.matching import MatchingDecision
from predecoder.correction.policies import WHOLE_SHOTS, Policies, PolicyName, ThresholdPolicy
from qec import DecodingProblem

__all__ = ["Decision", "automatic_policy", "make_decision", "stream_policy"]


class Decision(Protocol):
    """A rule that commits moves."""

    def __call__(self, logits: Logits, packed: np.ndarray) -> np.ndarray:
        """Commit moves.

        Args:
            logits: `(B, M)`, float32 or one byte each, M the moves in the order of `MoveSet`.
            packed: uint8 `(B, ceil(num_detectors / 8))`, LSB first: detections.

        Returns:
            uint8 0/1 `(B, M)`.
        """
        ...


def automatic_policy(global_decoder: sinter.Decoder, *, stream: bool = False) -> PolicyName:
    """The policy in front of a global decoder, on whole shots or in a stream.

    A matcher on independent edges loses nothing when sure clusters are taken from it, whatever they leave.
    A decoder that knows the correlations of this very error model has what the network may lack, so that it
    is left all that is unsure: the whole shot, or in a stream, whose end is not in sight, the cluster.

    Before a matcher on independent edges `consistent` has fewer errors on whole shots. It is not chosen, as
    streams do not have it, and `predecoder+pymatching` is to mean the same predictions there.
    """
    if getattr(global_decoder, "independent_edges", False):
        return "threshold"
    return "complete" if stream else "abstain"


def make_decision(policies: Policies, name: PolicyName, problem: DecodingProblem) -> Decision:
    """The policy of a name on whole shots of one DEM.

    Raises:
        ValueError: there is no policy of that name.
    """
    if name == "abstain":
        threshold = policies.abstain.threshold_at(
            distance=problem.layout.distance, density=problem.peak_density
        )
        return MatchingDecision(problem, abstain_above=threshold)
    if name == "consistent":
        return ConsistentDecision(problem, leave_above=policies.consistent.leave_above)
    return ClusterDecision(problem, _threshold_policy(policies, name, problem))


def stream_policy(policies: Policies, name: PolicyName, problem: DecodingProblem) -> ThresholdPolicy:
    """The policy of a name in streams: `make_decision` commits the same moves on whole shots.

    Raises:
        ValueError: there is no policy of that name, or streams do not have it.
    """
    if name in WHOLE_SHOTS:
        raise ValueError(
            f"policy {name!r} needs the whole shot, and a stream decides before its end; use 'threshold' "
            "before matchers on independent edges, 'complete' before other decoders"
        )
    return _threshold_policy(policies, name, problem)


def _threshold_policy(policies: Policies, name: PolicyName, problem: DecodingProblem) -> ThresholdPolicy:
    distance, density = problem.layout.distance, problem.peak_density
    if name == "threshold":
        return policies.threshold_at(distance=distance, density=density)
    if name == "complete":
        return policies.complete.at(density)
    raise ValueError(f"policy {name!r} is unknown; use one of {', '.join(get_args(PolicyName))}")
