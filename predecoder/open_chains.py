"""Chain decisions while the end of the volume is not in sight: a group is judged once it cannot grow.

The rule is that of `predecoder.decision`: proposed moves that share a detector form a group, and a
group stands or falls as one. Moves of later layers are still to come, so a group that touches a
detector they may touch stays open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from predecoder.decision import DecisionConfig

__all__ = ["LONGEST_WAIT", "Move", "OpenChains"]

LONGEST_WAIT = 64
"""Layers that an open group may hold back. Past that its moves are given up: the matcher decodes them."""

Node = tuple[int, int]
"""A detector as (layer, cell of the flattened ancilla grid)."""


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
        self._pending: list[Move] = []

    def settle(
        self, moves: Iterable[Move], *, limit: int, fired: Callable[[Node], bool]
    ) -> tuple[list[Move], int]:
        """Judges every group that is closed.

        Args:
            moves: proposed since the last call; all moves of layers before `limit` are known now.
            limit: moves still to come touch detectors of this layer or later ones only.
            fired: whether a detector was seen.

        Returns:
            The moves that are committed, and the layer before which no later call commits any.
        """
        self._pending += moves
        if self._config.is_plain:
            committed, self._pending = self._pending, []
            return committed, limit
        committed, still_open, frontier = [], [], limit
        for group in _groups(self._pending):
            nodes = [node for move in group for node in move.ends]
            first, last = min(nodes)[0], max(nodes)[0]
            if last < limit:
                if self._accepts(group, nodes, fired):
                    committed += group
            elif first >= limit - LONGEST_WAIT:
                still_open += group
                frontier = min(frontier, first)
        self._pending = still_open
        return committed, frontier

    def _accepts(self, group: list[Move], nodes: list[Node], fired: Callable[[Node], bool]) -> bool:
        if min(move.logit for move in group) < self._config.commit:
            return False
        if self._config.residue == "any":
            return True
        return all(nodes.count(node) % 2 == fired(node) for node in set(nodes))


def _groups(moves: list[Move]) -> list[list[Move]]:
    """Moves that are connected by shared detectors."""
    parent: dict[Node, Node] = {}

    def root(node: Node) -> Node:
        while (above := parent.setdefault(node, node)) != node:
            parent[node] = parent[above]
            node = above
        return node

    for move in moves:
        parent[root(move.ends[0])] = root(move.ends[-1])
    groups: dict[Node, list[Move]] = {}
    for move in moves:
        groups.setdefault(root(move.ends[0]), []).append(move)
    return list(groups.values())
