"""The ways in which a network's logits become commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import sinter

from predecoder.decision import REFERENCE_DENSITY, ChainDecision, ChainMode, Decision
from predecoder.matching import MatchedDecision
from qec import DecodingProblem

if TYPE_CHECKING:
    from predecoder.network import Network

__all__ = ["Mode", "automatic_mode", "chain_mode", "doubt_of", "make_decision"]

Mode = Literal[ChainMode, "matching"]
"""'matching' commits a matching on the logits, which explains the shot whole. 'conservative' does so only for
shots without a doubtful group of moves, and leaves the others as they are to the decoder behind it, which is
to know more than the network. 'aggressive' commits groups of moves that the network is sure of: fastest."""
_DOUBTLESS = 4
"""Distance above which changes of mind may cost something and not be doubtful."""


def doubt_of(problem: DecodingProblem) -> float:
    """What a group of changes may cost before its shot is left to a decoder that uses correlations.

    One logit more for each more of distance, as a mistake has to cost more before it is a failure; in
    proportion less where errors are rarer than at p = 0.006, as failures are rarer still (measured at
    d = 5 to 13, EXPERIMENTS.md).
    """
    rarer = min(1.0, problem.peak_density / REFERENCE_DENSITY)
    # Rounded, so that experiments of any length on one patch have one and the same.
    return round(max(0, problem.distance - _DOUBTLESS) * rarer, 1)


def chain_mode(*, graphlike: bool) -> ChainMode:
    """A stream's mode, by groups of moves, before a matcher on independent edges or another decoder."""
    return "aggressive" if graphlike else "conservative"


def automatic_mode(global_decoder: sinter.Decoder) -> Mode:
    """Matching in front of a matcher on independent edges, conservative in front of anything else.

    A matcher has nothing that a matching on the logits lacks; a decoder that knows the correlations of
    this very error model has, where the network was trained on another one.
    """
    return "matching" if getattr(global_decoder, "graphlike", False) else "conservative"


def make_decision(network: Network, mode: Mode, problem: DecodingProblem) -> Decision:
    """A network's decision on whole shots."""
    if mode == "aggressive":
        return ChainDecision(problem, network.decision_for(mode, problem))
    if mode == "conservative":
        return MatchedDecision(problem, doubt=network.conservative.doubt * doubt_of(problem))
    return MatchedDecision(problem)
