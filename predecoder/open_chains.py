"""Chain decisions while the end of the volume is not in sight: a group is judged once it cannot grow.

The rule is that of `predecoder.decision`: proposed moves that share a detector, or touch detectors that
a mechanism binds, form a group, and a group stands or falls as one. Moves and mechanisms of later layers
are still to come, so a group that touches a detector they may touch stays open.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from predecoder.decision import DecisionConfig

__all__ = ["LONGEST_WAIT", "Bond", "Move", "Node", "OpenChains"]

LONGEST_WAIT = 64
"""Layers that an open group may hold back. Past that its moves are given up: the matcher decodes them."""

Node = tuple[int, int]
"""A detector as (layer, cell of the flattened ancilla grid)."""

Bond = tuple[Node, ...]
"""Detectors of a mechanism that all fired: they belong to one group, but flip nothing."""


class Move(NamedTuple):
    """A proposed move.

    Attributes:
        logit: of the network.
        ends: its one or two detectors.
        layer, kind, cell: its place on the move grid; `cell` counts the flattened (I, J).
    """

    logit: float
    ends: tuple[Node, ...]
    layer: int
    kind: int
    cell: int


class OpenChains:
    """The proposed moves of one shot that are not judged yet."""

    def __init__(self, config: DecisionConfig) -> None:
        self._config = config
        self._moves: list[Move] = []
        self._bonds: list[Bond] = []

    def settle(
        self,
        moves: Iterable[Move],
        bonds: Iterable[Bond] = (),
        *,
        limit: int,
        fired: Callable[[Node], bool],
    ) -> tuple[list[Move], int]:
        """Judges every group that is closed.

        Args:
            moves: proposed since the last call; all moves of layers before `limit` are known now.
            bonds: of the mechanisms that begin in the same layers.
            limit: moves and bonds still to come touch detectors of this layer or later ones only.
            fired: whether a detector was seen; asked of moves' ends that no bond touches.

        Returns:
            The moves that are committed, and the layer before which no later call commits any.
        """
        self._moves += moves
        if self._config.is_plain:
            committed, self._moves = self._moves, []
            return committed, limit
        self._bonds += bonds
        groups = _groups(self._moves, self._bonds)
        self._moves, self._bonds = [], []
        committed, frontier = [], limit
        for group, bound in groups:
            ends = [node for move in group for node in move.ends]
            seen = set(itertools.chain.from_iterable(bound))
            first, last = (pick(itertools.chain(ends, seen))[0] for pick in (min, max))
            if last < limit:
                if group and self._accepts(group, ends, seen, fired):
                    committed += group
            elif first >= limit - LONGEST_WAIT:
                self._moves += group
                self._bonds += bound
                # What only binds holds nothing back: it changes no detector.
                frontier = min(frontier, min(ends, default=(limit, 0))[0])
        return committed, frontier

    def _accepts(
        self, moves: list[Move], ends: list[Node], seen: set[Node], fired: Callable[[Node], bool]
    ) -> bool:
        """Whether a closed group is committed; of its detectors, `seen` are known to have fired."""
        if min(move.logit for move in moves) < self._config.commit:
            return False
        if self._config.residue == "any":
            return True
        flips = Counter(ends)
        return all(flips[node] % 2 == (node in seen or fired(node)) for node in seen.union(ends))


def _groups(moves: list[Move], bonds: list[Bond]) -> list[tuple[list[Move], list[Bond]]]:
    """Moves and bonds that are connected by shared detectors."""
    parent: dict[Node, Node] = {}

    def root(node: Node) -> Node:
        while (above := parent.setdefault(node, node)) != node:
            parent[node] = parent[above]
            node = above
        return node

    for nodes in itertools.chain((move.ends for move in moves), bonds):
        for node in nodes[1:]:
            parent[root(node)] = root(nodes[0])
    groups: dict[Node, tuple[list[Move], list[Bond]]] = {}
    for move in moves:
        groups.setdefault(root(move.ends[0]), ([], []))[0].append(move)
    for bond in bonds:
        groups.setdefault(root(bond[0]), ([], []))[1].append(bond)
    return list(groups.values())
