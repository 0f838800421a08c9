"""Long REPEAT blocks of a detector error model, cut short."""

from __future__ import annotations

import stim

__all__ = ["shortened"]

_KEPT = 12
"""Iterations kept. The first and last few rounds of an experiment differ; this leaves several equal ones."""

_PERIOD = 4
"""Iterations are left out in multiples of this: decomposed mechanisms may alternate from round to round."""


def shortened(dem: stim.DetectorErrorModel) -> stim.DetectorErrorModel | None:
    """`dem` with fewer iterations of its longest top-level REPEAT block; None if it has no long one."""
    instructions = [dem[k] for k in range(len(dem))]
    counts = [op.repeat_count if isinstance(op, stim.DemRepeatBlock) else 0 for op in instructions]
    if max(counts, default=0) < _KEPT + _PERIOD:
        return None
    longest = counts.index(max(counts))
    kept = _KEPT + (counts[longest] - _KEPT) % _PERIOD
    short = stim.DetectorErrorModel()
    for k, instruction in enumerate(instructions):
        if k == longest and isinstance(instruction, stim.DemRepeatBlock):
            instruction = stim.DemRepeatBlock(kept, instruction.body_copy())
        short.append(instruction)
    return short
