"""Read a detector error model: its mechanisms, block by block, REPEAT blocks once.

This is the only place where `error` instructions are taken apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import stim

__all__ = ["Block", "Component", "Line", "Mechanism", "mechanisms", "odd", "read"]

Component = tuple[tuple[int, ...], tuple[int, ...]]
"""Detectors and observables that fire together, both ascending and without repetition."""


@dataclass(frozen=True)
class Mechanism:
    """What one `error` instruction flips, and how probably.

    Attributes:
        probability: in [0, 1].
        components: the parts into which it is decomposed, each with at least one detector, or the only one.
            Empty if nothing is flipped.
    """

    probability: float
    components: tuple[Component, ...]

    @cached_property
    def symptoms(self) -> Component:
        """Detectors and observables that all components flip together."""
        if len(self.components) == 1:
            return self.components[0]
        return _sum(self.components)

    def whole(self) -> Mechanism:
        """The same mechanism; one component if at most two detectors are flipped, whatever was suggested."""
        if len(self.components) > 1 and len((symptoms := self.symptoms)[0]) <= 2:
            return Mechanism(self.probability, (symptoms,))
        return self

    def shifted(self, detectors: int) -> Mechanism:
        """The same mechanism this many detectors later."""
        if not detectors:
            return self
        parts = tuple((tuple(d + detectors for d in part[0]), part[1]) for part in self.components)
        return Mechanism(self.probability, parts)


@dataclass(frozen=True, slots=True)
class Line:
    """One instruction of a block.

    Attributes:
        offset: by how many detectors the block shifted before this line.
        instruction: as it was read; None for an error that differs from what was read.
        mechanism: of an error, its detectors counted from the block's beginning.
    """

    offset: int
    instruction: stim.DemInstruction | None
    mechanism: Mechanism | None = None

    def with_mechanism(self, mechanism: Mechanism) -> Line:
        """The same place with another mechanism."""
        return self if mechanism == self.mechanism else Line(self.offset, None, mechanism)

    def emit(self) -> stim.DemInstruction:
        """The line as Stim's instruction."""
        if self.instruction is not None:
            return self.instruction
        if self.mechanism is None:
            raise ValueError("a line holds an instruction or a mechanism")
        targets: list[stim.DemTarget] = []
        for detectors, observables in self.mechanism.components:
            targets += [stim.target_separator()] if targets else []
            targets += [stim.target_relative_detector_id(d - self.offset) for d in detectors]
            targets += [stim.target_logical_observable_id(o) for o in observables]
        return stim.DemInstruction("error", [self.mechanism.probability], targets)


@dataclass(frozen=True, slots=True)
class Block:
    """Lines and blocks that are run through `count` times.

    Attributes:
        offset: by how many detectors the surrounding block shifted before it.
        shift: by how many detectors each iteration shifts.
    """

    lines: tuple[Line | Block, ...]
    count: int = 1
    offset: int = 0
    shift: int = 0

    def errors(self, *, start: int = 0) -> Iterator[Mechanism]:
        """Every mechanism in order, blocks unrolled, detectors counted from the model's beginning."""
        for iteration in range(self.count):
            here = start + iteration * self.shift
            for line in self.lines:
                if isinstance(line, Block):
                    yield from line.errors(start=here + line.offset)
                elif line.mechanism is not None:
                    yield line.mechanism.shifted(here)

    def with_lines(self, lines: Sequence[Line | Block]) -> Block:
        """The same block with other lines; itself if they are its own."""
        same = len(lines) == len(self.lines) and all(a is b for a, b in zip(lines, self.lines, strict=True))
        return self if same else replace(self, lines=tuple(lines))

    @property
    def as_read(self) -> bool:
        """Whether every line is an instruction that was read."""
        return all(
            line.as_read if isinstance(line, Block) else line.instruction is not None for line in self.lines
        )

    def emit(self) -> stim.DetectorErrorModel:
        """One iteration as a DEM."""
        dem = stim.DetectorErrorModel()
        for line in self.lines:
            if isinstance(line, Block):
                dem.append(stim.DemRepeatBlock(line.count, line.emit()))
            else:
                dem.append(line.emit())
        return dem


def read(dem: stim.DetectorErrorModel, *, count: int = 1, offset: int = 0) -> Block:
    """Read a DEM line by line; what a REPEAT block holds is read once."""
    lines: list[Line | Block] = []
    shift = 0
    for instruction in dem:
        if isinstance(instruction, stim.DemRepeatBlock):
            block = read(instruction.body_copy(), count=instruction.repeat_count, offset=shift)
            lines.append(block)
            shift += block.count * block.shift
        elif instruction.type == "error":
            (p,) = instruction.args_copy()
            groups = instruction.target_groups()
            components = _components(groups, shift)
            # Cancelled targets change the number of components or of what they flip.
            same = [len(group) for group in groups] == [len(part[0]) + len(part[1]) for part in components]
            lines.append(Line(shift, instruction if same else None, Mechanism(p, components)))
        else:
            lines.append(Line(shift, instruction))
            if instruction.type == "shift_detectors":
                (by,) = instruction.targets_copy()
                shift += int(str(by))
    return Block(tuple(lines), count, offset, shift)


def mechanisms(dem: stim.DetectorErrorModel) -> Iterator[Mechanism]:
    """Every `error` instruction of a DEM in order, blocks unrolled, with the probability that it states."""
    return read(dem).errors()


def odd(p: float, q: float) -> float:
    """Probability that exactly one of two independent events happens."""
    return p * (1 - q) + q * (1 - p)


def _components(groups: Sequence[Sequence[stim.DemTarget]], offset: int) -> tuple[Component, ...]:
    """The components of an instruction: targets named twice cancel, and so do equal components."""
    parts: dict[tuple[int, ...], set[int]] = {}
    for group in groups:
        detectors, observables = set[int](), set[int]()
        for target in group:
            if target.is_relative_detector_id():
                detectors ^= {target.val + offset}
            else:
                observables ^= {target.val}
        key = tuple(sorted(detectors))
        known = parts.pop(key, None)
        if known is None:
            parts[key] = observables
        else:  # the same detectors twice: only what the observables differ in is left
            loose = known ^ observables
            parts[()] = parts.get((), set()) ^ loose
    found = [(key, tuple(sorted(observables))) for key, observables in parts.items() if key]
    loose = tuple(sorted(parts.get((), ())))
    if loose and found:
        # A component without detectors would be ignored by a matcher; another one carries its flips.
        detectors, observables = found[0]
        found[0] = detectors, tuple(sorted({*observables} ^ {*loose}))
    elif loose:
        found = [((), loose)]
    if len(found) > 1:
        together = _sum(found)
        if not together[0]:
            return (together,) if together[1] else ()
    return tuple(found)


def _sum(parts: Sequence[Component]) -> Component:
    return _odd_ones([d for part in parts for d in part[0]]), _odd_ones(
        [o for part in parts for o in part[1]]
    )


def _odd_ones(numbers: list[int]) -> tuple[int, ...]:
    """Those that are there an odd number of times, ascending."""
    distinct = set(numbers)
    if len(distinct) == len(numbers):  # nearly always
        return tuple(sorted(numbers))
    return tuple(sorted(k for k in distinct if numbers.count(k) % 2))
