"""Policies: by which rule a network's logits become committed moves, before which kind of decoder.

- `threshold` commits clusters of proposed moves that the network is sure of, whatever they leave: for
  matchers on independent edges, which lose nothing by it.
- `consistent` matches the logits of the whole shot, and commits the clusters in which that changes little,
  each whole: nearly the LER of `neural-matching`, with 1 to 6 % of the syndrome left.
- `complete` commits only clusters that explain every detection they touch, joined along hyperedges: for
  decoders that use correlations, where the end of the experiment is not in sight (streams).
- `abstain` explains a shot whole or, where a cluster of it is doubtful, leaves it whole: for decoders that
  use correlations, where whole shots are at hand.

`threshold` and `complete` are thresholds on clusters (`ThresholdPolicy`) and are the same for batches and
streams. `consistent` and `abstain` need the whole shot, so that streams do not have them.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

__all__ = [
    "REFERENCE_DENSITY",
    "SMALL_PATCH",
    "AbstainPolicy",
    "ConsistentPolicy",
    "Policies",
    "PolicyName",
    "ThresholdPolicy",
]

PolicyName = Literal["threshold", "consistent", "abstain", "complete"]
WHOLE_SHOTS: tuple[PolicyName, ...] = ("consistent", "abstain")
"""Policies that streams do not have."""

REFERENCE_DENSITY = 0.107
"""How often a detector in the bulk fires at p = 0.006 of the paper's noise."""
SMALL_PATCH = 7
"""Distance from which on a patch is not small."""
_LARGEST_SURE = 4
"""Distance above which an explanation of a shot may cost something and not be doubtful."""

Residual = Literal["any", "empty"]
Clustering = Literal["moves", "hyperedges"]


@dataclass(frozen=True)
class ThresholdPolicy:
    """The rule by which clusters of proposed moves are committed.

    Attributes:
        propose: a move is proposed where its logit exceeds this.
        commit: a cluster is committed where the smallest logit in it reaches this, at the detection
            density of the paper's noise at p = 0.006.
        residual: 'any' commits clusters whatever they leave of the syndrome; 'empty' only those that
            explain every detection they touch.
        clustering: 'moves' joins moves that share a detector; 'hyperedges' also joins all detections of
            every hyperedge, of both stabilizer types, of whose detectors at most one did not fire. With
            residual 'empty', a Y error is then explained whole or left whole, which is what correlated
            matching needs: half an explained cluster hides the other half's correlation.
        commit_slope: added to `commit` for every factor e by which detections are rarer; see `at`.
    """

    propose: float = 0.0
    commit: float = 0.0
    residual: Residual = "any"
    clustering: Clustering = "moves"
    commit_slope: float = 0.0

    def __post_init__(self) -> None:
        for name, known in (("residual", get_args(Residual)), ("clustering", get_args(Clustering))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r} is unknown; use one of {known}")
        if self.commit < self.propose:
            raise ValueError(f"commit={self.commit} is below propose={self.propose}; it would never matter")

    def at(self, density: float) -> ThresholdPolicy:
        """The rule at another detection density, `DecodingProblem.peak_density`; `commit_slope` is then 0.

        Where errors are rare, failures of matching are far rarer still, and a wrong commit weighs more.
        """
        if not self.commit_slope or not density > 0:
            return replace(self, commit_slope=0.0)
        # Rounded, so that experiments of any length on one patch have one and the same threshold.
        commit = round(self.commit + self.commit_slope * math.log(REFERENCE_DENSITY / density), 1)
        return replace(self, commit=max(commit, self.propose), commit_slope=0.0)

    @property
    def commits_all(self) -> bool:
        """Whether every proposed move is committed."""
        return self.commit == self.propose and self.residual == "any"


@dataclass(frozen=True)
class AbstainPolicy:
    """Explain a shot whole by a matching on the logits, or leave it whole if a cluster is doubtful.

    Attributes:
        scale: factor on the abstention threshold, the weight of flipped edges from which on a cluster is
            doubtful: below 1 for a network that is wrong more often, 0 to abstain from all that costs
            anything.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.scale >= 0:
            raise ValueError(f"scale={self.scale!r} is negative; use 0 to abstain from all that is unsure")

    def threshold_at(self, *, distance: int, density: float) -> float:
        """The abstention threshold: the weight that the flipped edges of one cluster may have in all.

        One logit more for each more of distance, as a mistake has to cost more before it is a failure; in
        proportion less where errors are rarer than at p = 0.006, as failures are rarer still (measured at
        d = 5 to 13, docs/experiments).
        """
        rarer = min(1.0, density / REFERENCE_DENSITY)
        # Rounded, so that experiments of any length on one patch have one and the same.
        return self.scale * round(max(0, distance - _LARGEST_SURE) * rarer, 1)


@dataclass(frozen=True)
class ConsistentPolicy:
    """Commit the clusters of a matching on the logits that change few of them.

    Attributes:
        leave_above: nats of a cluster's flipped edges above which it is left whole. At 0 only clusters are
            committed that the logits explain by themselves; infinite leaves none.
    """

    leave_above: float = 2.0

    def __post_init__(self) -> None:
        if not self.leave_above >= 0:
            raise ValueError(f"leave_above={self.leave_above!r} is negative; use 0 to commit what is sure")


@dataclass(frozen=True)
class Policies:
    """What a network's logits were calibrated for: one policy of each name, stored with its weights.

    Attributes:
        threshold: before matchers on independent edges.
        small_patch: in place of `threshold` below a distance of `SMALL_PATCH`, if it is given: matching
            alone fails so often there that a wrong commit costs little beside what the right ones repair.
        complete: before decoders that use correlations, in streams.
        consistent: before any decoder, on whole shots.
        abstain: before decoders that use correlations, on whole shots.
        min_rounds: of the shortest experiment that the network is used for; shorter ones are decoded
            without it.
        even_sides: whether the network is used on patches of which a side has an even number of data qubits.
        without_reset: whether the network is used on circuits without mid-circuit reset, as one that was
            trained on them.
        gap_scale: factor on the cost between two logical classes that makes it the log-odds of an error
            (`scripts.benchmarks.confidence.table` fits it); the network's predictions do not depend on it.
    """

    threshold: ThresholdPolicy = field(default_factory=ThresholdPolicy)
    small_patch: ThresholdPolicy | None = None
    complete: ThresholdPolicy = field(
        default_factory=lambda: ThresholdPolicy(residual="empty", clustering="hyperedges")
    )
    abstain: AbstainPolicy = field(default_factory=AbstainPolicy)
    consistent: ConsistentPolicy = field(default_factory=ConsistentPolicy)
    min_rounds: int = 1
    even_sides: bool = True
    without_reset: bool = False
    gap_scale: float = 1.0

    def __post_init__(self) -> None:
        if self.complete.residual != "empty":
            raise ValueError(f"complete has residual={self.complete.residual!r}; use 'empty', or threshold")
        if not isinstance(self.min_rounds, int) or self.min_rounds < 1:
            raise ValueError(f"min_rounds={self.min_rounds!r} is not a whole number from 1 on")
        if not 0 < self.gap_scale < math.inf:
            raise ValueError(f"gap_scale={self.gap_scale!r} is not a positive number")

    def threshold_at(self, *, distance: int, density: float) -> ThresholdPolicy:
        """The policy `threshold` on a patch of some distance, at a detection density."""
        small = self.small_patch if distance < SMALL_PATCH else None
        return (small or self.threshold).at(density)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `from_dict` reads it: what a weights file's metadata hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Policies:
        """The inverse of `to_dict`; what is not given has its default.

        Raises:
            TypeError, ValueError: an unknown name, or a value that no policy has.
        """
        parts = {
            name: kind(**data[name])
            for name, kind in (
                ("threshold", ThresholdPolicy),
                ("small_patch", ThresholdPolicy),
                ("complete", ThresholdPolicy),
                ("abstain", AbstainPolicy),
                ("consistent", ConsistentPolicy),
            )
            if data.get(name) is not None
        }
        return cls(**{**data, **parts})
