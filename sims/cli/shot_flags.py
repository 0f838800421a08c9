"""The flags of verbs that read shots, and the model that they are shots of."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import stim

from qec import ShotFormat
from sims.cli.files import first_sentence, parse_stim, shot_format
from sims.sweeps.tasks import decoder_dem

if TYPE_CHECKING:
    from sims.shot_files.source import ShotSource

__all__ = ["OptionalShotFlags", "ShotFlags"]


@dataclass(frozen=True, kw_only=True)
class OptionalShotFlags:
    """A model, and shots of it if there are any: detections or raw measurements, in any Stim format."""

    shots: Path | None = None
    """File of detection events, or of raw measurements with --measurements."""
    circuit: Path | None = None
    """Stim circuit that made the shots; --dem alone is enough for detection events."""
    format: ShotFormat | None = None
    """Format of --shots; left out: that of its suffix."""
    measurements: bool = False
    """--shots holds raw measurements."""
    append_observables: bool = False
    """In --shots, each shot's observable flips follow its detection events, as `stim detect` writes them."""
    sweep: Path | None = None
    """File of the sweep bits of the measurements, for a circuit that has them."""
    sweep_format: ShotFormat | None = None
    """Format of --sweep; left out: that of its suffix."""
    dem: Path | None = None
    """Detector error model to decode with; left out: the circuit's."""
    obs: Path | None = None
    """File of the observable flips that were measured."""
    obs_format: ShotFormat | None = None
    """Format of --obs; left out: that of its suffix."""

    @property
    def inputs(self) -> tuple[Path | None, ...]:
        """Every file that is read; None for a flag that was left out."""
        return (self.shots, self.circuit, self.sweep, self.dem, self.obs)

    def source(self) -> ShotSource:
        """Where shots come from."""
        from sims.shot_files.source import ShotSource  # what it needs may be missing where doctor runs

        if self.shots is None:
            raise ValueError("there are no shots to read; add --shots")
        return ShotSource(
            shots=self.shots,
            format=shot_format(self.shots, self.format, "--format"),
            measurements=self.measurements,
            append_observables=self.append_observables,
            sweep=self.sweep,
            sweep_format=shot_format(self.sweep, self.sweep_format, "--sweep-format") if self.sweep else "b8",
            observables=self.obs,
            observables_format=shot_format(self.obs, self.obs_format, "--obs-format") if self.obs else "01",
        )

    def model(self) -> tuple[stim.Circuit | None, stim.DetectorErrorModel]:
        """The circuit, if one was given, and the detector error model to decode with.

        Raises:
            ValueError: neither was given, they do not fit each other, or there is nothing to decode.
        """
        circuit = None if self.circuit is None else parse_stim(self.circuit, stim.Circuit, "circuit")
        if self.dem is None:
            if circuit is None:
                raise ValueError("neither --circuit nor --dem was given; add the circuit that made the shots")
            dem = _circuit_dem(circuit, self.circuit)
        else:
            dem = parse_stim(self.dem, stim.DetectorErrorModel, "detector error model")
        if circuit is not None and (dem.num_detectors, dem.num_observables) != (
            circuit.num_detectors,
            circuit.num_observables,
        ):
            raise ValueError(
                f"{self.dem} has {dem.num_detectors} detectors and {dem.num_observables} observables, "
                f"{self.circuit} has {circuit.num_detectors} and {circuit.num_observables}; "
                "give a model of this circuit"
            )
        _require_a_question(dem, self.dem or self.circuit)
        return circuit, dem


@dataclass(frozen=True, kw_only=True)
class ShotFlags(OptionalShotFlags):
    """The same, of verbs that cannot do without shots."""

    shots: Path = field()
    """File of detection events, or of raw measurements with --measurements."""


def _circuit_dem(circuit: stim.Circuit, path: Path | None) -> stim.DetectorErrorModel:
    try:
        return decoder_dem(circuit)
    except ValueError as error:
        raise ValueError(
            f"{path} gives no detector error model: {first_sentence(error)}; mend the circuit, or give a "
            "model with --dem"
        ) from error


def _require_a_question(dem: stim.DetectorErrorModel, path: Path | None) -> None:
    for count, name, fix in (
        (dem.num_detectors, "detectors", "there is nothing to decode from; add DETECTOR instructions to it"),
        (dem.num_observables, "observables", "there is nothing to predict; add OBSERVABLE_INCLUDE to it"),
    ):
        if count == 0:
            raise ValueError(f"{path} has 0 {name}, so {fix}")
