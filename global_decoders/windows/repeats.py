"""Long REPEAT blocks of circuits and detector error models, cut short."""

from __future__ import annotations

from typing import TypeVar

import stim

__all__ = ["shortened"]

_KEPT = 14
"""Iterations kept. The first and last few rounds of an experiment differ; this leaves several equal ones."""

_PERIOD = 4
"""Iterations are left out in multiples of this: decomposed mechanisms may alternate from round to round."""

_Program = TypeVar("_Program", stim.Circuit, stim.DetectorErrorModel)


def shortened(program: _Program) -> _Program:
    """The program with fewer iterations of its longest top-level REPEAT block; itself without a long one."""
    instructions = [program[k] for k in range(len(program))]
    counts = [
        op.repeat_count if isinstance(op, stim.CircuitRepeatBlock | stim.DemRepeatBlock) else 0
        for op in instructions
    ]
    if max(counts, default=0) < _KEPT + _PERIOD:
        return program
    longest = counts.index(max(counts))
    kept = _KEPT + (counts[longest] - _KEPT) % _PERIOD
    short = type(program)()
    for k, instruction in enumerate(instructions):
        if k == longest and isinstance(instruction, stim.CircuitRepeatBlock | stim.DemRepeatBlock):
            instruction = type(instruction)(kept, instruction.body_copy())  # type: ignore[arg-type]
        short.append(instruction)  # type: ignore[arg-type]
    return short
