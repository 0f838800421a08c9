"""The steps to the normal form, block by block; a block where nothing is to be done stays the same object."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable

from qec.dem.mechanisms import Block, Component, Line, Mechanism, odd
from qec.dem.merging import Observables, likeliest, odd_of_all

__all__ = [
    "edges_told_apart",
    "edges_whole",
    "equal_merged",
    "likeliest_win",
    "relabeled",
    "without_certain",
]

_LEAST = sys.float_info.min
"""A probability below has lost digits, and its logarithm is more than some libraries take: as good as 0."""


def without_certain(block: Block) -> Block:
    """Errors as their instructions mean them: p for 1 - p, none of probability 0 or that flip nothing."""
    lines: list[Line | Block] = []
    for line in block.lines:
        if isinstance(line, Block):
            lines.append(without_certain(line))
        elif line.mechanism is None:
            lines.append(line)
        else:
            p = min(line.mechanism.probability, 1 - line.mechanism.probability)
            if p >= _LEAST and line.mechanism.components:
                lines.append(line.with_mechanism(Mechanism(p, line.mechanism.components)))
    return block.with_lines(lines)


def edges_whole(block: Block, *, but: Collection[Mechanism] = ()) -> Block:
    """Errors of at most two detectors as edges, whatever decomposition was suggested for them, `but` some."""
    return _each(block, lambda m: m if len(m.components) == 1 or m in but else m.whole())


def edges_told_apart(block: Block, *, likely: bool = False) -> frozenset[Mechanism]:
    """Decomposed edges that never happen alone and are rarer than each of their parts alone.

    Args:
        block: without blocks in it.
        likely: also for those that are likelier, if each of their parts happens alone.
    """
    alone: dict[Component, float] = {}
    for line in block.lines:
        if isinstance(line, Line) and line.mechanism is not None and len(line.mechanism.components) == 1:
            part = line.mechanism.components[0]
            alone[part] = odd(alone.get(part, 0.0), line.mechanism.probability)

    def told_apart(mechanism: Mechanism) -> bool:
        if len(mechanism.components) == 1 or len((edge := mechanism.symptoms)[0]) > 2:
            return False
        rarest = min(alone.get(part, 0.0) for part in mechanism.components)
        return (mechanism.probability < rarest or (likely and rarest > 0)) and edge not in alone

    errors = (line.mechanism for line in block.lines if isinstance(line, Line) and line.mechanism is not None)
    return frozenset(error for error in errors if told_apart(error))


def equal_merged(block: Block) -> Block:
    """One mechanism for those with the same components, where the first of them stands."""
    lines: list[Line | Block | None] = list(block.lines)
    first: dict[frozenset[Component], int] = {}
    for k, line in enumerate(block.lines):
        if isinstance(line, Block):
            lines[k] = equal_merged(line)
        elif line.mechanism is not None:
            place = first.setdefault(frozenset(line.mechanism.components), k)
            known = lines[place]
            if place < k and isinstance(known, Line) and known.mechanism is not None:
                p = odd_of_all([known.mechanism.probability, line.mechanism.probability])
                lines[place] = known.with_mechanism(Mechanism(p, known.mechanism.components))
                lines[k] = None
    return block.with_lines([line for line in lines if line is not None])


def likeliest_win(block: Block) -> Block:
    """Mechanisms with the same detectors flip the likeliest observables, in their likeliest decomposition."""
    lines: list[Line | Block | None] = list(block.lines)
    groups: dict[tuple[int, ...], dict[int, Mechanism]] = {}
    for k, line in enumerate(block.lines):
        if isinstance(line, Block):
            lines[k] = likeliest_win(line)
        elif line.mechanism is not None:
            groups.setdefault(line.mechanism.symptoms[0], {})[k] = line.mechanism
    for detectors, found in groups.items():
        if not detectors or len(found) == 1:
            continue
        winner = _winner((m.symptoms[1], m.probability) for m in found.values())
        losers = [k for k, m in found.items() if m.symptoms[1] != winner]
        if losers:
            best = max(found.keys() - losers, key=lambda k: (found[k].probability, -k))
            line = block.lines[best]
            assert isinstance(line, Line)
            p = odd_of_all(found[k].probability for k in (best, *losers))
            lines[best] = line.with_mechanism(Mechanism(p, found[best].components))
            for k in losers:
                lines[k] = None
    return block.with_lines([line for line in lines if line is not None])


def relabeled(block: Block, *, by: Block) -> Block:
    """Components with the likeliest observables of all with the same detectors in `by`, block for block."""
    inner = iter([line for line in by.lines if isinstance(line, Block)])
    labels: dict[tuple[int, ...], list[tuple[Observables, float]]] = {}
    for line in by.lines:
        if isinstance(line, Line) and line.mechanism is not None:
            for detectors, observables in line.mechanism.components:
                labels.setdefault(detectors, []).append((observables, line.mechanism.probability))
    chosen = {
        detectors: _winner(found)
        for detectors, found in labels.items()
        if detectors and any(observables != found[0][0] for observables, _ in found)
    }

    def relabel(mechanism: Mechanism) -> Mechanism:
        if not any(detectors in chosen for detectors, _ in mechanism.components):
            return mechanism
        parts = tuple((d, chosen.get(d, o)) for d, o in mechanism.components)
        return Mechanism(mechanism.probability, parts)

    lines = [
        relabeled(line, by=next(inner)) if isinstance(line, Block) else _changed(line, relabel)
        for line in block.lines
    ]
    return block.with_lines(lines)


def _each(block: Block, change: Callable[[Mechanism], Mechanism]) -> Block:
    lines = [
        _each(line, change) if isinstance(line, Block) else _changed(line, change) for line in block.lines
    ]
    return block.with_lines(lines)


def _changed(line: Line, change: Callable[[Mechanism], Mechanism]) -> Line:
    return line if line.mechanism is None else line.with_mechanism(change(line.mechanism))


def _winner(alternatives: Iterable[tuple[Observables, float]]) -> Observables:
    found: dict[Observables, list[float]] = {}
    for observables, p in alternatives:
        found.setdefault(observables, []).append(p)
    return likeliest({observables: odd_of_all(p) for observables, p in found.items()})
