"""The ways in which a network's logits become commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import sinter

from predecoder.decision import ChainDecision, ChainMode, Decision
from predecoder.matching import MatchedDecision
from qec.dem_tables import DemTables
from qec.layout import DetectorLayout

if TYPE_CHECKING:
    from predecoder.network import Network

__all__ = ["MODES", "Mode", "automatic_mode", "chain_mode", "make_decision"]

Mode = Literal[ChainMode, "matching"]
"""'aggressive' and 'conservative' commit groups of moves that the network is sure of, for a decoder behind
it that matches independent edges, or uses correlations. 'matching' commits a matching on the logits, which
explains the shot whole: the lowest logical error rate, and slower."""
MODES: tuple[Mode, ...] = ("aggressive", "conservative", "matching")


def chain_mode(*, graphlike: bool) -> ChainMode:
    """The mode by groups of moves in front of a decoder, which matches independent edges or does not."""
    return "aggressive" if graphlike else "conservative"


def automatic_mode(global_decoder: sinter.Decoder) -> Mode:
    """Matching in front of a matcher on independent edges, conservative in front of anything else.

    A matcher has nothing that a matching on the logits lacks; a decoder that knows the correlations of
    this very error model has, where the network was trained on another one.
    """
    return "matching" if getattr(global_decoder, "graphlike", False) else "conservative"


def make_decision(
    network: Network, mode: Mode, layout: DetectorLayout, *, tables: DemTables | None = None
) -> Decision:
    """A network's decision in a mode; `tables` are the DEM's, for rules that bind by mechanisms.

    Raises:
        ValueError: the mode's rule binds by mechanisms and there are no tables.
    """
    if mode == "matching":
        return MatchedDecision(layout)
    return ChainDecision(layout, network.decision_for(mode, layout), tables=tables)
