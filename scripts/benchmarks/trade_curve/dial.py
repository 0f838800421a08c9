"""The settings of policies that a trade curve compares."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from predecoder.correction import (
    AbstainPolicy,
    ConsistentPolicy,
    Decision,
    Policies,
    PolicyName,
    ThresholdPolicy,
    make_decision,
    stream_policy,
)
from qec import DecodingProblem

__all__ = ["Dial", "Setting"]


@dataclass(frozen=True)
class Setting:
    """One policy, and the `Policies` that hold its thresholds."""

    policy: PolicyName
    policies: Policies

    def decision(self, problem: DecodingProblem) -> Decision:
        """The setting carried out."""
        return make_decision(self.policies, self.policy, problem)

    def thresholds(self, problem: DecodingProblem) -> str:
        """Its thresholds on this patch at this noise, as a table says them."""
        if self.policy == "consistent":
            return f"{self.policies.consistent.leave_above:g} nats"
        if self.policy == "abstain":
            distance, density = problem.layout.distance, problem.peak_density
            return f"{self.policies.abstain.threshold_at(distance=distance, density=density):g} nats"
        rule = stream_policy(self.policies, self.policy, problem)
        return f"commit {rule.commit:g}" + (f", propose {rule.propose:g}" if rule.propose else "")


@dataclass(frozen=True)
class Dial:
    """What is turned; of what has no value here, the weights' own value is taken.

    Attributes:
        commit: of `threshold` and `complete`: logit from which on a cluster is committed.
        propose: of the same: logit above which a move is proposed. Below 0, clusters are refused that touch
            an alternative of such a logit.
        leave_above: of `consistent`: nats of flipped edges above which a cluster is left. With inf none is:
            the matching of the logits decides alone.
        abstain_scale: of `abstain`: factor on the abstention threshold.
    """

    commit: tuple[float, ...] = ()
    propose: tuple[float, ...] = (0.0,)
    leave_above: tuple[float, ...] = ()
    abstain_scale: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.propose != (0.0,) and not self.commit:
            raise ValueError(f"propose {self.propose} is turned together with commit, which has no value")
        if self.commit and max(self.commit) < min(self.propose, default=math.inf):
            raise ValueError(f"commit {self.commit} is never at least propose {self.propose}")

    def settings(self, names: Sequence[PolicyName], own: Policies) -> list[Setting]:
        """Every setting of the policies of these names."""
        return [Setting(name, policies) for name in names for policies in self._of(name, own) or [own]]

    def _of(self, name: PolicyName, own: Policies) -> list[Policies]:
        if name == "consistent":
            return [replace(own, consistent=ConsistentPolicy(nats)) for nats in self.leave_above]
        if name == "abstain":
            return [replace(own, abstain=AbstainPolicy(scale)) for scale in self.abstain_scale]
        if name == "complete":
            rules = self._rules(ThresholdPolicy(residual="empty", clustering="hyperedges"))
            return [replace(own, complete=rule) for rule in rules]
        return [replace(own, threshold=rule, small_patch=None) for rule in self._rules(ThresholdPolicy())]

    def _rules(self, like: ThresholdPolicy) -> Iterator[ThresholdPolicy]:
        for propose, commit in product(self.propose, self.commit):
            if commit >= propose:
                yield replace(like, propose=propose, commit=commit)
