"""Shots of a device, with the logical flips that were measured, to train on.

Shape legend: B shots, D detectors, O observables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from predecoder.training.labels import Keep, LabelledShots
from qec import SHOT_FORMATS, DetectorLayout, ShotFileError, ShotFormat, read_shots

__all__ = ["RecordedShots", "RecordedSource", "is_whole"]


@dataclass(frozen=True)
class RecordedShots:
    """Which shots of which files.

    Attributes:
        detections: file of detection events, its format by its suffix.
        observables: file of the flips that were measured.
        first, last, every: shots number `first`, `first + every`, ..., below `last` (None: to the end).
    """

    detections: str
    observables: str
    first: int = 0
    last: int | None = None
    every: int = 1

    def __post_init__(self) -> None:
        for name in ("detections", "observables"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise ValueError(f"recorded {name}={getattr(self, name)!r} is not the path of a file")
        if not (is_whole(self.first) and self.first >= 0 and is_whole(self.every) and self.every >= 1):
            raise ValueError(
                f"recorded first={self.first!r}, every={self.every!r}: use whole numbers from 0 and from 1 on"
            )
        if self.last is not None and not (is_whole(self.last) and self.last > self.first):
            raise ValueError(f"recorded last={self.last!r} is not a shot after first={self.first}")

    @property
    def files(self) -> tuple[Path, Path]:
        """Detections and flips."""
        return Path(self.detections), Path(self.observables)

    def read(self, layout: DetectorLayout) -> tuple[np.ndarray, np.ndarray]:
        """Detections uint8 `(B, ceil(D / 8))` and flips `(B, ceil(O / 8))`, bit-packed LSB first.

        Raises:
            ShotFileError: the files are not of this layout, or of different numbers of shots, or none of
                these shots is there.
        """
        detections = _all_shots(self.detections, num_detectors=layout.num_detectors)
        observables = _all_shots(self.observables, num_observables=layout.num_observables)
        if len(detections) != len(observables):
            raise ShotFileError(
                f"{self.detections} has {len(detections)} shots and {self.observables} {len(observables)}; "
                "give the flips of the same shots"
            )
        chosen = slice(self.first, self.last, self.every)
        if not len(detections[chosen]):
            raise ShotFileError(f"{self.detections} has {len(detections)} shots, none from {self.first} on")
        return detections[chosen], observables[chosen]


class RecordedSource:
    """Draws batches of recorded shots; their moves are not known, so a network's probabilities stand in."""

    def __init__(
        self,
        shots: RecordedShots,
        layout: DetectorLayout,
        *,
        label: Callable[[np.ndarray], np.ndarray] | None,
    ) -> None:
        """Read the files.

        Args:
            label: float16 `(B, N)` of moves, of packed detections; None where the trainer makes them.

        Raises:
            ShotFileError: see `RecordedShots.read`.
        """
        self._packed, self._observables = shots.read(layout)
        self._label = label

    def sample(self, shots: int, *, seed: int, keep: Keep | None = None) -> LabelledShots:
        """Draw shots (all there are, if there are fewer), none twice. Every shot counts: none is left out.

        Raises:
            ValueError: a rule says which shots to keep.
        """
        if keep is not None:
            raise ValueError("recorded shots are few, and are all used; a rule of which to keep has no place")
        drawn = np.random.default_rng(seed).permutation(len(self._packed))[:shots]
        packed = self._packed[drawn]
        labels = packed[:, :0] if self._label is None else self._label(packed)
        return LabelledShots(packed, labels, self._observables[drawn])


def _all_shots(path: str, *, num_detectors: int = 0, num_observables: int = 0) -> np.ndarray:
    suffix = Path(path).suffix.removeprefix(".")
    if suffix not in SHOT_FORMATS:
        raise ShotFileError(f"{path} does not end with a shot format; use one of .{', .'.join(SHOT_FORMATS)}")
    return read_shots(
        path,
        format=cast(ShotFormat, suffix),
        num_detectors=num_detectors,
        num_observables=num_observables,
    )


def is_whole(value: object) -> bool:
    """Whether a configuration's value is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)
