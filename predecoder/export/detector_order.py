"""The order of detectors in the memory circuits of NVIDIA's Ising-Decoding, as CUDA-Q QEC decodes them.

Both circuits have the same detectors, round by round, X stabilizers before Z ones. Ours go row by row; theirs
have Z stabilizers column by column.
"""

from __future__ import annotations

import numpy as np
import stim

__all__ = ["ising_decoding_order", "reordered"]


def ising_decoding_order(circuit: stim.Circuit, *, upper_left: str) -> np.ndarray:
    """int64 `(D,)`: the detectors of one of `qec.memory_circuit`'s circuits in the order of Ising-Decoding.

    Args:
        upper_left: type of the upper-left ancilla, at (2, 2): 'X' or 'Z', the orientation's first letter.
    """
    coordinates = circuit.get_detector_coordinates()

    def place(detector: int) -> tuple[float, ...]:
        x, y, t = coordinates[detector]
        of_z = (int(x + y) // 2 % 2 == 0) == (upper_left == "Z")
        return (t, 1, x, y) if of_z else (t, 0, y, x)

    return np.array(sorted(coordinates, key=place), dtype=np.int64)


def reordered(dem: stim.DetectorErrorModel, order: np.ndarray) -> stim.DetectorErrorModel:
    """The error model with detector `order[k]` as number k."""
    number = np.argsort(order)
    result = stim.DetectorErrorModel()
    for instruction in dem.flattened():
        assert isinstance(instruction, stim.DemInstruction)
        targets: list[object] = [
            stim.target_relative_detector_id(int(number[target.val]))
            if isinstance(target, stim.DemTarget) and target.is_relative_detector_id()
            else target
            for target in instruction.targets_copy()
        ]
        result.append(instruction.type, instruction.args_copy(), targets)
    return result
