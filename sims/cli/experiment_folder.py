"""A folder of one recorded experiment, as `fine-tune` and `learn-noise` take it with --data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import stim

from qec import SHOT_FORMATS
from sims.cli.files import check_inputs, parse_stim

__all__ = ["CIRCUIT", "DETECTIONS", "FLIPS", "ExperimentFolder"]

CIRCUIT = "circuit_noisy.stim"
DETECTIONS = "detection_events"
FLIPS = "obs_flips_actual"


@dataclass(frozen=True)
class ExperimentFolder:
    """One experiment's files, named as in Google's records; None for those that are not needed."""

    path: Path
    circuit: Path
    detections: Path | None
    flips: Path | None
    dem: Path | None

    @classmethod
    def find(
        cls, path: Path, *, detections: bool, flips: bool = False, dem: str | None = None
    ) -> ExperimentFolder:
        """Find what is needed, before anything is done: a DEM of that name in place of the circuit.

        Raises:
            ValueError: no folder, or not one file of each kind in it.
            OSError: no circuit, or no DEM.
        """
        if not path.is_dir():
            labels = f", {FLIPS}.01" if flips else ""
            raise ValueError(
                f"--data {path} is no folder; give folders of {CIRCUIT}, {DETECTIONS}.b8{labels}"
            )
        found = cls(
            path,
            path / CIRCUIT,
            _shot_file(path, DETECTIONS) if detections else None,
            _shot_file(path, FLIPS) if flips else None,
            path / dem if dem else None,
        )
        check_inputs(*found.inputs)
        return found

    @property
    def inputs(self) -> list[Path]:
        """The files that are read."""
        return [file for file in (self.dem or self.circuit, self.detections, self.flips) if file is not None]

    def read_circuit(self) -> stim.Circuit:
        """Raises ValueError, with the file's name, where it is none."""
        return parse_stim(self.circuit, stim.Circuit, "circuit")


def _shot_file(folder: Path, stem: str) -> Path:
    """The file of that name in one of Stim's formats; ValueError where there is none, or more than one."""
    found = [
        file for file in sorted(folder.glob(f"{stem}.*")) if file.suffix.removeprefix(".") in SHOT_FORMATS
    ]
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise ValueError(
            f"{folder} should hold one file {stem}.b8 (or another of Stim's formats); found {names}"
        )
    return found[0]
