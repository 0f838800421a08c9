"""The ways in which a network's logits become commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import sinter

from predecoder.decision import REFERENCE_DENSITY, ChainDecision, ChainMode, Decision
from predecoder.matching import MatchedDecision
from qec import DemTables, DetectorLayout

if TYPE_CHECKING:
    from predecoder.network import Network

__all__ = ["Mode", "automatic_mode", "chain_mode", "doubt_of", "make_decision"]

Mode = Literal[ChainMode, "matching"]
"""'matching' commits a matching on the logits, which explains the shot whole. 'conservative' does so only for
shots without a doubtful group of moves, and leaves the others as they are to the decoder behind it, which is
to know more than the network. 'aggressive' commits groups of moves that the network is sure of: fastest."""
_DOUBTLESS = 4
"""Distance above which changes of mind may cost something and not be doubtful."""


def doubt_of(layout: DetectorLayout) -> float:
    """What a group of changes may cost before its shot is left to a decoder that uses correlations.

    One logit more for each more of distance, as a mistake has to cost more before it is a failure; in
    proportion less where errors are rarer than at p = 0.006, as failures are rarer still (measured at
    d = 5 to 13, EXPERIMENTS.md).
    """
    rarer = min(1.0, layout.peak_density / REFERENCE_DENSITY)
    # Rounded, so that experiments of any length on one patch have one and the same.
    return round(max(0, layout.distance - _DOUBTLESS) * rarer, 1)


def chain_mode(*, independent_edges: bool) -> ChainMode:
    """A stream's mode, by groups of moves, before a matcher on independent edges or another decoder."""
    return "aggressive" if independent_edges else "conservative"


def automatic_mode(global_decoder: sinter.Decoder) -> Mode:
    """Matching in front of a matcher on independent edges, conservative in front of anything else.

    A matcher has nothing that a matching on the logits lacks; a decoder that knows the correlations of
    this very error model has, where the network was trained on another one.
    """
    return "matching" if getattr(global_decoder, "independent_edges", False) else "conservative"


def make_decision(
    network: Network, mode: Mode, layout: DetectorLayout, *, tables: DemTables | None = None
) -> Decision:
    """A network's decision on whole shots; `tables` are the DEM's, for rules that bind by mechanisms.

    Raises:
        ValueError: the mode's rule binds by mechanisms and there are no tables.
    """
    if mode == "aggressive":
        return ChainDecision(layout, network.decision_for(mode, layout), tables=tables)
    if mode == "conservative":
        return MatchedDecision(layout, doubt=network.conservative.doubt * doubt_of(layout))
    return MatchedDecision(layout)
