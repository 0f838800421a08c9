"""Whether REPEAT blocks can be treated one iteration at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from qec.dem.mechanisms import Block, Component

__all__ = ["ambiguous"]


@dataclass(slots=True)
class _Places:
    """Symptoms of one shape that stand at `start`, `start + step`, ..., `count` times.

    Attributes:
        observables: that they flip: several where mechanisms of one iteration differ in them.
    """

    start: int
    step: int
    count: int
    observables: set[tuple[int, ...]] = field(default_factory=set)

    def meets(self, other: _Places) -> bool:
        """Whether the two may stand at one place."""
        ends = (places.start + places.step * (places.count - 1) for places in (self, other))
        if other.start > next(ends) or self.start > next(ends):
            return False
        step = math.gcd(self.step, other.step)
        return (other.start - self.start) % step == 0 if step else self.start == other.start


def ambiguous(block: Block) -> bool:
    """Whether iterations flip detectors that others, or what is outside, flip too, and other observables.

    Which observables are likelier is then not to be seen within one iteration. Of blocks in blocks it may
    be said although it is not so.
    """
    if not any(isinstance(line, Block) for line in block.lines):
        return False
    # Detectors of one iteration that lie alike differ by a multiple of what iterations shift.
    grid = math.gcd(*_shifts(block)) or 1
    alike: dict[tuple, dict[tuple, _Places]] = {}
    for body, step, count, (detectors, observables), whole in _symptoms(block):
        if detectors:
            start = detectors[0]
            shape = (whole, start % grid, tuple(d - start for d in detectors))
            places = alike.setdefault(shape, {}).setdefault((body, start), _Places(start, step, count))
            places.observables.add(observables)
    for group in alike.values():
        found = list(group.values())
        if len(set[tuple[int, ...]]().union(*(places.observables for places in found))) > 1:
            for k, one in enumerate(found):
                if any(len(one.observables | two.observables) > 1 and one.meets(two) for two in found[:k]):
                    return True
    return False


def _shifts(block: Block) -> Iterator[int]:
    for line in block.lines:
        if isinstance(line, Block):
            yield line.shift
            yield from _shifts(line)


def _symptoms(
    block: Block, *, start: int = 0, step: int = 0, count: int = 1
) -> Iterator[tuple[int, int, int, Component, bool]]:
    """What each mechanism, and each component alone, flips: (block, step, count, symptoms, whole)."""
    for line in block.lines:
        if isinstance(line, Block):
            span = step * (count - 1) + line.shift * (line.count - 1)
            inner = math.gcd(step, line.shift)
            times = span // inner + 1 if inner else 1
            yield from _symptoms(line, start=start + line.offset, step=inner, count=times)
        elif line.mechanism is not None and line.mechanism.probability > 0:
            mechanism = line.mechanism.shifted(start)
            yield id(block), step, count, mechanism.symptoms, True
            for component in mechanism.components:
                yield id(block), step, count, component, False
