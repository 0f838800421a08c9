"""From a network's logits to committed moves, and to what these leave of the syndrome.

`Policies` are what a network's logits were calibrated for; they are stored with its weights.
`make_decision` makes the `Decision` that carries one out on whole shots: `ClusterDecision` (`threshold`,
`complete`), `ConsistentDecision` (`consistent`) or `MatchingDecision` (`abstain`, `neural-matching`).
`StreamPredecoder` does so on streams; `stream_network` gives the logits of a stream's layers.
`Residual` applies the moves that were committed. `move_graphs`: `neural-matching` in windows.
"""

from predecoder.correction.clusters import ClusterDecision
from predecoder.correction.consistent import ConsistentDecision
from predecoder.correction.decision import Decision, automatic_policy, make_decision, stream_policy
from predecoder.correction.matching import MatchingDecision
from predecoder.correction.move_windows import NEURAL_MATCHING, move_graphs
from predecoder.correction.policies import (
    REFERENCE_DENSITY,
    SMALL_PATCH,
    AbstainPolicy,
    ConsistentPolicy,
    Policies,
    PolicyName,
    ThresholdPolicy,
)
from predecoder.correction.residual import Residual
from predecoder.correction.residual_network import ResidualNetwork
from predecoder.correction.stream_network import stream_network
from predecoder.correction.streaming import ResidualLayer, ResidualStream, StreamPredecoder

__all__ = [
    "NEURAL_MATCHING",
    "REFERENCE_DENSITY",
    "SMALL_PATCH",
    "AbstainPolicy",
    "ClusterDecision",
    "ConsistentDecision",
    "ConsistentPolicy",
    "Decision",
    "MatchingDecision",
    "Policies",
    "PolicyName",
    "Residual",
    "ResidualLayer",
    "ResidualNetwork",
    "ResidualStream",
    "StreamPredecoder",
    "ThresholdPolicy",
    "automatic_policy",
    "make_decision",
    "move_graphs",
    "stream_network",
    "stream_policy",
]
