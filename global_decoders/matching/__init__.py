"""Exact minimum-weight matching in C++: edges out, weights of every shot, both logical classes.

`pymatching` decodes whole shots of one DEM. What is here is for those who need more of a matching: windows
(which edges are used), a network's logits as weights, training (the best matching of each class), soft output
(how much the other class weighs more). It is the sparse blossom algorithm (arXiv:2303.15933), written anew in
`native/matching`; every shot has the same result in any batch, and none is given up.

    MatchingGraph              edges of a DEM: ends, weights, observables, and what they imply for each other
    ImpliedWeights             the latter, for correlated matching
    Matcher(graph)             matchings by the graph's weights, or by weights of every shot
    LogitMatcher(ends)         matchings by logits of every shot, such as a network's
    Int8Logits                 logits of one byte each, as devices hand them down
    Matched, Classes, Moves    what they return
    MatchingGaps, GAP_SCALE    how sure decoders are that match on a DEM's edges
    scaled_gap                 gaps times a factor, up to a limit
"""

from global_decoders.matching.gaps import GAP_SCALE, MatchingGaps, scaled_gap
from global_decoders.matching.graph import ImpliedWeights, MatchingGraph
from global_decoders.matching.logits import Int8Logits, LogitMatcher, Logits, Moves
from global_decoders.matching.matcher import Classes, Matched, Matcher

__all__ = [
    "GAP_SCALE",
    "Classes",
    "ImpliedWeights",
    "Int8Logits",
    "LogitMatcher",
    "Logits",
    "Matched",
    "Matcher",
    "MatchingGaps",
    "MatchingGraph",
    "Moves",
    "scaled_gap",
]
