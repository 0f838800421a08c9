"""Bit-packed shots in, bit-packed predictions out: the part that all adapters share."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import sinter

from qec import Faults


class UnexplainedShotsError(ValueError):
    """Nothing that the DEM knows of explains some shots of a batch; the others can be decoded without them.

    Attributes:
        shots: int64, ascending, one at least: their numbers in the batch.
    """

    def __init__(self, reason: str, *, shots: np.ndarray) -> None:
        """What to say of the first of them, which is named before it."""
        super().__init__(reason)
        self.shots = shots

    def __str__(self) -> str:
        return f"shot {self.shots[0]}: {self.args[0]}"

    def __reduce__(self) -> tuple[functools.partial[UnexplainedShotsError], tuple[object, ...]]:
        # Exceptions are pickled as class and arguments: without this no process could send it to another.
        return functools.partial(type(self), shots=self.shots), self.args


@contextmanager
def numbered_after(count: int) -> Iterator[None]:
    """Shots that nothing explains get their numbers in a file of which so many came before the batch."""
    try:
        yield
    except UnexplainedShotsError as error:
        raise UnexplainedShotsError(error.args[0], shots=error.shots + count) from error


def checked_packed(packed: np.ndarray, *, num_detectors: int) -> np.ndarray:
    """Returns `packed` if it is uint8 of shape (shots, ceil(num_detectors / 8)).

    Raises:
        ValueError: another dtype or shape; the message has both sides of the disagreement.
    """
    width = -(-num_detectors // 8)
    if packed.dtype != np.uint8 or packed.ndim != 2 or packed.shape[1] != width:
        raise ValueError(
            f"detections have dtype {packed.dtype} and shape {packed.shape}, but {num_detectors} detectors "
            f"need bit-packed uint8 of shape (shots, {width}); "
            "pack with np.packbits(detections, axis=1, bitorder='little')"
        )
    return packed


@dataclasses.dataclass(frozen=True)
class PackedShotFormat:
    """What shots of a DEM look like, and which of their bits can be set at all.

    Attributes:
        num_detectors, num_observables: as the DEM counts them.
        possible: uint8 (ceil(num_detectors/8),), packed: detectors that some mechanism flips.
            Libraries answer anything else with a panic, a crash or a guess.
    """

    num_detectors: int
    num_observables: int
    possible: np.ndarray

    @staticmethod
    def of_faults(faults: Faults) -> PackedShotFormat:
        possible = np.zeros(faults.num_detectors, dtype=bool)
        possible[[d for fault in faults.detectors for d in fault]] = True
        return PackedShotFormat(
            num_detectors=faults.num_detectors,
            num_observables=faults.observable_flips.shape[1],
            possible=np.packbits(possible, bitorder="little"),
        )

    def checked(self, packed: np.ndarray) -> np.ndarray:
        """Returns `packed`, uint8 (shots, ceil(num_detectors/8)).

        Raises:
            ValueError: another dtype or shape.
            UnexplainedShotsError: a detection that no mechanism of the DEM explains.
        """
        checked_packed(packed, num_detectors=self.num_detectors)
        unexplained: np.ndarray = np.bitwise_and(packed, np.invert(self.possible))
        if unexplained.any():
            shots = np.flatnonzero(unexplained.any(axis=1))
            detector = np.flatnonzero(np.unpackbits(unexplained[shots[0]], bitorder="little"))[0]
            raise UnexplainedShotsError(
                f"D{detector} fired, or did not although it always does: no mechanism of the DEM explains "
                "that; give a DEM with noise there",
                shots=shots,
            )
        return packed

    def unpacked(self, packed: np.ndarray) -> np.ndarray:
        """uint8 (..., ceil(num_detectors/8)) -> uint8 (..., num_detectors) of 0 and 1."""
        return np.unpackbits(packed, axis=-1, count=self.num_detectors, bitorder="little")


class ShotByShotDecoder(sinter.CompiledDecoder):
    """A compiled decoder over a function that decodes one unpacked shot.

    Args:
        decode_shot: takes detections, uint8 (num_detectors,) of 0 and 1, and returns observable
            flips, 0 and 1 of shape (num_observables,).
        shot_format: of the DEM that `decode_shot` was made for.
    """

    def __init__(
        self, decode_shot: Callable[[np.ndarray], np.ndarray], *, shot_format: PackedShotFormat
    ) -> None:
        self.decode_shot = decode_shot
        self.shot_format = shot_format

    def decode_shots_bit_packed(self, *, bit_packed_detection_event_data: np.ndarray) -> np.ndarray:
        """uint8 (shots, ceil(num_detectors/8)) -> uint8 (shots, ceil(num_observables/8))."""
        packed = self.shot_format.checked(bit_packed_detection_event_data)
        flips = np.zeros((len(packed), self.shot_format.num_observables), dtype=np.uint8)
        if self.shot_format.num_observables:
            for shot, row in enumerate(packed):
                flips[shot] = self.decode_shot(self.shot_format.unpacked(row))
        return np.packbits(flips, axis=1, bitorder="little")
