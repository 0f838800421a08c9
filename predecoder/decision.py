"""Which of the network's moves are committed: whole chains, not single voxels.

A wrong commit inside an ambiguous cluster costs more than none at all, and a chain is as sure as its
weakest link. So proposed moves that share a detector form a group, and a group stands or falls as one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, Protocol, get_args

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from predecoder.mechanisms import Mechanisms
from qec import DecodingProblem

__all__ = ["REFERENCE_DENSITY", "ChainDecision", "ChainMode", "Decision", "DecisionConfig"]

REFERENCE_DENSITY = 0.107
"""How often a detector in the bulk fires at p = 0.006."""

Residue = Literal["any", "none"]
Bind = Literal["moves", "mechanisms"]
ChainMode = Literal["aggressive", "conservative"]
"""Which of a network's two rules by groups: for matching on independent edges, or with correlations."""


class Decision(Protocol):
    """A rule that commits moves."""

    def __call__(self, logits: np.ndarray, packed: np.ndarray) -> np.ndarray:
        """Which moves are committed.

        Args:
            logits: float32 `(B, M)`, M the moves in the order of `MoveSet`.
            packed: uint8 `(B, ceil(num_detectors / 8))`, LSB first: detections.

        Returns:
            uint8 0/1 `(B, M)`.
        """
        ...


@dataclass(frozen=True)
class DecisionConfig:
    """The rule by which groups of proposed moves are committed.

    Attributes:
        propose: a move is proposed where its logit exceeds this.
        commit: a group is committed where the smallest logit in it reaches this, at the detection
            density of the paper's noise at p = 0.006.
        residue: 'any' commits groups whatever they leave of the syndrome; 'none' only those that
            explain every detection they touch.
        bind: 'moves' groups moves that share a detector; 'mechanisms' also binds all detections of
            every mechanism, of both stabilizer types, of whose detectors at most one did not fire.
            With residue 'none', a Y error is then explained whole or left whole, which is what
            correlated matching needs: half an explained cluster hides the other half's correlation.
        sparser: added to `commit` for every factor e by which detections are rarer (see `at`).
        doubt: factor on what changes may cost in whole shots, where the rule is a network's conservative
            one (`predecoder.modes.doubt_of`): below 1 for a network that is wrong more often.
    """

    propose: float = 0.0
    commit: float = 0.0
    residue: Residue = "any"
    bind: Bind = "moves"
    sparser: float = 0.0
    doubt: float = 1.0

    def __post_init__(self) -> None:
        if self.residue not in get_args(Residue):
            raise ValueError(f"residue={self.residue!r} is unknown; use one of {get_args(Residue)}")
        if self.bind not in get_args(Bind):
            raise ValueError(f"bind={self.bind!r} is unknown; use one of {get_args(Bind)}")
        if not self.doubt >= 0:
            raise ValueError(f"doubt={self.doubt!r} is negative; use 0 to leave every uncertain shot alone")
        if self.commit < self.propose:
            raise ValueError(f"commit={self.commit} is below propose={self.propose}; it would never matter")

    def at(self, density: float) -> DecisionConfig:
        """The rule at another detection density, `DecodingProblem.peak_density`; `sparser` is then 0.

        Where errors are rare, failures of matching are far rarer still, and a wrong commit weighs more.
        """
        if not self.sparser or not density > 0:
            return replace(self, sparser=0.0)
        # Rounded, so that experiments of any length on one patch have one and the same threshold.
        commit = round(self.commit + self.sparser * math.log(REFERENCE_DENSITY / density), 1)
        return replace(self, commit=max(commit, self.propose), sparser=0.0)

    @property
    def is_plain(self) -> bool:
        """Whether every proposed move is committed."""
        return self.commit == self.propose and self.residue == "any"


class ChainDecision:
    """Groups the proposed moves of a batch and drops the groups that are not sure enough."""

    def __init__(self, problem: DecodingProblem, config: DecisionConfig) -> None:
        self._mechanisms = Mechanisms(problem) if config.bind == "mechanisms" else None
        self._config = config
        self._num_detectors = problem.layout.num_detectors
        # The one or two detectors of every move; a move with one stands in both rows.
        ends = problem.moves.ends.astype(np.int64)
        self._ends = np.where(ends < 0, ends[0], ends)

    def __call__(self, logits: np.ndarray, packed: np.ndarray) -> np.ndarray:
        """Commits moves; see `Decision`."""
        proposed = logits > self._config.propose
        committed = proposed.astype(np.uint8)
        if self._config.is_plain:
            return committed
        shot, move = np.nonzero(proposed)
        if len(shot):
            detections = np.unpackbits(packed, axis=1, count=self._num_detectors, bitorder="little")
            keep = self._kept(logits[shot, move], shot, move, detections)
            committed[shot[~keep], move[~keep]] = 0
        return committed

    def _kept(
        self, logits: np.ndarray, shot: np.ndarray, move: np.ndarray, detections: np.ndarray
    ) -> np.ndarray:
        """Which of the proposed moves `(n,)` belong to a group that is committed."""
        moves = ends = self._ends[:, move] + shot * self._num_detectors
        if self._mechanisms is not None:
            ends = np.concatenate([moves, self._mechanisms.fired(detections)], axis=1)
        nodes, local = np.unique(ends, return_inverse=True)
        local = local.reshape(ends.shape)
        edges = sp.coo_matrix(
            (np.ones(ends.shape[1], dtype=np.uint8), (local[0], local[1])), shape=(len(nodes), len(nodes))
        )
        count, group_of_node = connected_components(edges, directed=False)
        local = local[:, : len(shot)]  # what binds is no correction
        group = group_of_node[local[0]]
        weakest = np.full(count, np.inf)
        np.minimum.at(weakest, group, logits)
        accepted = weakest >= self._config.commit
        if self._config.residue == "none":
            flips = np.bincount(local[0], minlength=len(nodes))
            two = local[0] != local[1]
            flips += np.bincount(local[1, two], minlength=len(nodes))
            left = (flips + detections.ravel()[nodes]) % 2 == 1
            accepted[group_of_node[left]] = False
        return accepted[group]
