"""What always happens: errors above 1/2, taken out of a detector error model."""

from __future__ import annotations

import numpy as np

from qec.dem.mechanisms import Block, Line, Mechanism

__all__ = ["certain_errors", "flips_of_certain"]


def certain_errors(block: Block) -> Block:
    """What always happens: errors above 1/2 as errors of probability 1, and the shifts between them."""
    lines: list[Line | Block] = []
    for line in block.lines:
        if isinstance(line, Block):
            lines.append(certain_errors(line))
        elif line.mechanism is None:
            if line.instruction is not None and line.instruction.type == "shift_detectors":
                lines.append(line)
        elif line.mechanism.probability > 0.5 and line.mechanism.components:
            lines.append(Line(line.offset, None, Mechanism(1.0, line.mechanism.components)))
    return block.with_lines(lines)


def flips_of_certain(
    block: Block, *, num_detectors: int, num_observables: int
) -> tuple[np.ndarray, np.ndarray]:
    """Detectors and observables that all errors of a block flip together, uint8, bit-packed LSB first.

    Blocks are not unrolled: an error of a REPEAT block is added up over all its iterations at once.
    """
    detectors = np.zeros(num_detectors, dtype=np.uint8)
    observables = np.zeros(num_observables, dtype=np.uint8)
    _add(block, np.zeros(1, dtype=np.int64), detectors, observables)
    return np.packbits(detectors, bitorder="little"), np.packbits(observables, bitorder="little")


def _add(block: Block, starts: np.ndarray, detectors: np.ndarray, observables: np.ndarray) -> None:
    """Adds a block that begins at each of these detectors, in place."""
    if not any(isinstance(line, Block) or line.mechanism for line in block.lines):
        return
    starts = (starts[:, None] + block.shift * np.arange(block.count)).ravel()
    for line in block.lines:
        if isinstance(line, Block):
            _add(line, starts + line.offset, detectors, observables)
        elif line.mechanism is not None:
            flipped, flips = line.mechanism.symptoms
            for detector in flipped:
                np.bitwise_xor.at(detectors, starts + detector, np.uint8(1))
            observables[list(flips)] ^= len(starts) % 2
