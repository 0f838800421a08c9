"""`qecpipe learn-noise --data FOLDER...`: one patch at several numbers of rounds, learned together."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from rich.console import Console

from qec import position_of
from sims.cli.console import make_console
from sims.cli.experiment_folder import ExperimentFolder
from sims.cli.files import about, check_output_folder, complete_folder, first_sentence, shot_format
from sims.shot_files.source import ShotSource

if TYPE_CHECKING:
    from noise_learning import LearningData, Moments, NoiseFit, StationaryNoise, Structure
    from sims.shot_files.selection import ShotSelection

MECHANISMS_FILE = "mechanisms.parquet"
REPORT_FILE = "report.md"


@dataclass(frozen=True, eq=False)
class _Experiment:
    """Folders of one number of rounds, whose shots add."""

    rounds: int
    structure: Structure
    folders: list[ExperimentFolder] = field(default_factory=list)

    @property
    def names(self) -> str:
        return ", ".join(str(folder.path) for folder in self.folders)


def learn_rounds(
    folders: Sequence[ExperimentFolder],
    out: Path,
    *,
    selection: ShotSelection,
    rounds: Sequence[int],
    prior: float = 0.0,
    floor: float = 0.0,
) -> int:
    """Run the verb with --data; returns its exit code.

    Args:
        selection: of every folder's shots.
        rounds: numbers of rounds for which a DEM is wanted besides.
        prior: share of the rates of the circuit: of the first folder of as many rounds, and of the longest
            experiment where rounds were not measured.
        floor: after that, least probability of errors that flip one detector alone.
    """
    from noise_learning import fit_stationary_jointly

    console = make_console()
    experiments = _experiments(folders)
    others = _others(experiments, rounds)
    names = [*map(dem_file, (*experiments, *others)), MECHANISMS_FILE, REPORT_FILE]
    check_output_folder(out, names, inputs=[file for folder in folders for file in folder.inputs])
    with console.status("counting shots, fitting") if console.is_terminal else nullcontext():
        data = [_data(experiment, selection) for experiment in experiments.values()]
        noise = fit_stationary_jointly(data)

    def finished(fit: NoiseFit) -> NoiseFit:
        return fit.towards_prior(prior).with_floor(floor)

    fits = {rounds: finished(fit) for rounds, fit in zip(experiments, noise.fits, strict=True)}
    predicted = {rounds: finished(noise.predict(of)) for rounds, of in others.items()}
    with complete_folder(out) as folder:
        _write(folder, fits, predicted)
        report = _report(experiments, data, noise, fits, predicted, selection)
        (folder / REPORT_FILE).write_text(report, encoding="utf-8")
    _print(console, fits, predicted, out)
    return 0


def dem_file(rounds: int) -> str:
    """Name of the DEM of a number of rounds."""
    return f"r{rounds:02}.dem"


def _experiments(folders: Sequence[ExperimentFolder]) -> dict[int, _Experiment]:
    """By number of rounds, in ascending order; ValueError where folders are not of one patch."""
    from noise_learning import Structure, number_of_rounds

    found: dict[int, _Experiment] = {}
    for folder in folders:
        with about(folder.circuit):
            try:
                structure = Structure.from_circuit(folder.read_circuit()).simplified()
                rounds = number_of_rounds(structure)
            except ValueError as error:
                raise ValueError(first_sentence(error)) from error
        same = found.setdefault(rounds, _Experiment(rounds, structure))
        if same.structure.mechanisms != structure.mechanisms:
            raise ValueError(
                f"--data {same.folders[0].path} and {folder.path} have {rounds} rounds each and other "
                "circuits; learn them by commands of their own"
            )
        same.folders.append(folder)
        first = next(iter(found.values()))
        if _positions(first.structure) != _positions(structure):
            raise ValueError(
                f"--data {first.folders[0].path} and {folder.path} are not of one patch: their detectors "
                "are at other places; learn each patch by a command of its own"
            )
    return dict(sorted(found.items()))


def _positions(structure: Structure) -> set[tuple[float, ...]]:
    return {position_of(coordinates) for coordinates in structure.coordinates}


def _others(experiments: dict[int, _Experiment], wanted: Sequence[int]) -> dict[int, Structure]:
    """Structures of numbers of rounds that were not measured, from the longest experiment."""
    from noise_learning import with_rounds

    longest = experiments[max(experiments)]
    others: dict[int, Structure] = {}
    for rounds in sorted(set(wanted) - set(experiments)):
        with about(longest.folders[0].circuit):
            others[rounds] = with_rounds(longest.structure, rounds)
    return others


def _data(experiment: _Experiment, selection: ShotSelection) -> LearningData:
    """The moments of an experiment's shots, which need not fit into memory."""
    from noise_learning import LearningData, Moments

    structure = experiment.structure
    total = Moments.zero(structure.subsets)
    for folder in experiment.folders:
        total += _moments(folder, structure, selection)
    with about(experiment.folders[0].path):
        return LearningData.of(total, structure)


def _moments(folder: ExperimentFolder, structure: Structure, selection: ShotSelection) -> Moments:
    from sims.shot_files.selection import count_blocks

    assert folder.detections is not None
    source = ShotSource(shots=folder.detections, format=shot_format(folder.detections, None, "--data"))
    chunks = source.chunks(
        None, num_detectors=structure.num_detectors, num_observables=structure.num_observables
    )
    with about(folder.detections):
        return count_blocks((found for found, _ in chunks), structure.subsets, selection=selection).total


def _write(folder: Path, fits: dict[int, NoiseFit], predicted: dict[int, NoiseFit]) -> None:
    from noise_learning import mechanism_frame

    frames = []
    for rounds, fit in sorted({**fits, **predicted}.items()):
        fit.dem().to_file(folder / dem_file(rounds))
        frames.append(mechanism_frame(fit).insert_column(0, pl.lit(rounds, pl.Int64).alias("rounds")))
    pl.concat(frames).write_parquet(folder / MECHANISMS_FILE)


def _report(
    experiments: dict[int, _Experiment],
    data: Sequence[LearningData],
    noise: StationaryNoise,
    fits: dict[int, NoiseFit],
    predicted: dict[int, NoiseFit],
    selection: ShotSelection,
) -> str:
    from noise_learning import MeasuredRounds, render_rounds_report

    measured = [
        MeasuredRounds.of(one.rounds, one.names, dem_file(one.rounds), of, fit)
        for one, of, fit in zip(experiments.values(), data, fits.values(), strict=True)
    ]
    files = {rounds: (dem_file(rounds), fit) for rounds, fit in predicted.items()}
    return render_rounds_report(noise, measured, files, selection=str(selection))


def _print(console: Console, fits: dict[int, NoiseFit], predicted: dict[int, NoiseFit], out: Path) -> None:
    shots = sum(fit.shots for fit in fits.values())
    console.print(
        f"{shots:,.0f} shots of {len(fits)} numbers of rounds, which share their rates; estimator stationary"
    )
    for rounds, fit in sorted({**fits, **predicted}.items()):
        what = f"chi² per degree of freedom {fit.chi2_per_row:.3g}" if rounds in fits else "predicted"
        console.print(f"{rounds} rounds: {out / dem_file(rounds)} ({what})")
    console.print(f"report: {out / REPORT_FILE}")
