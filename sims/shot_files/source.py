"""Where shots come from: detection events or raw measurements of a file, with or without observables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
import stim

from qec import ShotFileError, ShotFormat, detections_from_measurements, iter_shots

CHUNK_SHOTS = 4096

Chunk = tuple[np.ndarray, np.ndarray | None]
"""Detections and, where known, observable flips of some shots, bit-packed uint8 (shots, bytes)."""


@dataclass(frozen=True)
class ShotSource:
    """Where shots come from.

    `shots` holds detection events, followed in each shot by the observed flips if `append_observables`; or
    raw measurements if `measurements`, which need the circuit's `sweep` bits where it has any.
    `observables` is a file of the flips that were observed; raw measurements imply them, and the file
    wins where both are there.
    """

    shots: Path
    format: ShotFormat
    measurements: bool = False
    sweep: Path | None = None
    sweep_format: ShotFormat = "b8"
    observables: Path | None = None
    observables_format: ShotFormat = "01"
    append_observables: bool = False

    def __post_init__(self) -> None:
        if self.append_observables and self.measurements:
            raise ValueError(
                "measurements imply the observables; give --measurements or --append-observables"
            )
        if self.append_observables and self.observables is not None:
            raise ValueError(
                f"the observables are in {self.shots} and in {self.observables}; "
                "give --append-observables or --obs"
            )

    def chunks(
        self, circuit: stim.Circuit | None, *, num_detectors: int, num_observables: int
    ) -> Iterator[Chunk]:
        """The shots, `CHUNK_SHOTS` at a time."""
        if self.measurements:
            if circuit is None:
                raise ValueError("raw measurements need the circuit that made them; add --circuit")
            chunks: Iterable[Chunk] = detections_from_measurements(
                circuit,
                self.shots,
                format=self.format,
                sweep=self.sweep,
                sweep_format=self.sweep_format,
                chunk_shots=CHUNK_SHOTS,
            )
        else:
            if self.sweep is not None:
                raise ValueError(f"sweep bits {self.sweep} have no meaning without --measurements")
            appended = num_observables if self.append_observables else 0
            shots = iter_shots(
                self.shots,
                format=self.format,
                num_detectors=num_detectors,
                num_observables=appended,
                chunk_shots=CHUNK_SHOTS,
            )
            if appended:
                return (_split(chunk, num_detectors, appended) for chunk in shots)
            chunks = ((chunk, None) for chunk in shots)
        if self.observables is None:
            return iter(chunks)
        flips = iter_shots(
            self.observables,
            format=self.observables_format,
            num_observables=num_observables,
            chunk_shots=CHUNK_SHOTS,
        )
        return _with_observables(chunks, flips, names=f"{self.shots} and {self.observables}")


def _split(chunk: np.ndarray, num_detectors: int, num_observables: int) -> Chunk:
    """Detections and the observables that follow them, each packed by itself."""
    bits = np.unpackbits(chunk, axis=1, count=num_detectors + num_observables, bitorder="little")
    detections, flips = bits[:, :num_detectors], bits[:, num_detectors:]
    return np.packbits(detections, axis=1, bitorder="little"), np.packbits(flips, axis=1, bitorder="little")


def _with_observables(chunks: Iterable[Chunk], flips: Iterable[np.ndarray], *, names: str) -> Iterator[Chunk]:
    shots = 0
    for chunk, observed in zip_longest(chunks, flips):
        if chunk is None or observed is None or len(chunk[0]) != len(observed):
            shots += min(0 if chunk is None else len(chunk[0]), 0 if observed is None else len(observed))
            raise ShotFileError(
                f"of {names}, one ends after {shots} shots and the other does not; give files of the same run"
            )
        shots += len(observed)
        yield chunk[0], observed
