"""`qecpipe learn-noise`: a detector error model with error bars, from syndromes alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import stim
from rich.console import Console

from qec import ShotFormat
from sims.cli.console import make_console
from sims.cli.experiment_folder import ExperimentFolder
from sims.cli.files import (
    check_inputs,
    check_output_folder,
    complete_folder,
    first_sentence,
    parse_stim,
    shot_format,
)
from sims.cli.parse_flags import parse_flags
from sims.cli.shots_progress import shots_progress
from sims.shot_files.source import ShotSource

if TYPE_CHECKING:
    from noise_learning import BlockLog, DriftSummary, Moments, NoiseFit, Structure
    from sims.shot_files.selection import ShotSelection

RESUME_HINT = "nothing was written; run the same command again"
DEM_FILE = "learned.dem"
MECHANISMS_FILE = "mechanisms.parquet"
REPORT_FILE = "report.md"
OUTPUTS = (DEM_FILE, MECHANISMS_FILE, REPORT_FILE, "lattice.png", "drift.png")
_TABLES = f"tables and pictures are of what shots say before that; {DEM_FILE} and {MECHANISMS_FILE} have it"


@dataclass(frozen=True)
class LearnConfig:
    """Learn the noise of a device from its detection events: no labels, no knowledge of its rates.

    Writes learned.dem (for --dem of `qecpipe decode`, and for training), mechanisms.parquet (probability,
    standard error, detectors), and report.md with a map of the patch and a plot of drift. Shot files may be
    larger than memory.

    With --data, several numbers of rounds of one patch are learned together: what is the same in all rounds
    has one rate in all of them. Writes rNN.dem for every number NN of rounds in place of learned.dem.
    """

    out: Path
    """Folder for the results; appears when they are complete."""
    circuit: Path | None = None
    """Stim circuit that made the shots, with noise: its locations count, its rates are a first guess."""
    shots: tuple[Path, ...] = ()
    """Files of detection events, or of raw measurements with --measurements; all of one circuit."""
    data: tuple[Path, ...] = ()
    """In place of --circuit and --shots: folders of circuit_noisy.stim and detection_events.b8 (or another of
    Stim's formats), each an experiment of some number of rounds on the same patch. --which, --start and
    --stop count the shots of each from 0."""
    rounds: tuple[int, ...] = ()
    """With --data: numbers of rounds that were not measured, for which a DEM is wanted too."""
    format: ShotFormat | None = None
    """Format of --shots; left out: that of each suffix."""
    measurements: bool = False
    """--shots holds raw measurements."""
    sweep: tuple[Path, ...] = ()
    """Files of the sweep bits of the measurements, one per file of --shots, for a circuit that has them."""
    sweep_format: ShotFormat | None = None
    """Format of --sweep; left out: that of each suffix."""
    estimator: Literal["auto", "shared-parameters", "closed-form", "hybrid"] = "auto"
    """How rates are fitted. shared-parameters: few parameters for all noise locations; closed-form: every
    mechanism by itself; hybrid: every mechanism, shrunk to the shared-parameter fit; auto: the
    shared-parameter fit, or, where locations differ in their rates, the hybrid; or, where detectors are
    correlated as no mechanism does it, as from leakage, the stationary one: every mechanism by itself, shrunk
    to its mean over rounds."""
    share: Literal["gate-type", "location"] = "gate-type"
    """Noise locations with one parameter: those of one gate type, or of one gate type and place, so that
    rates are equal over time only."""
    floor: float = 0.0
    """Least probability of an error that flips one detector alone. Where detectors are correlated as no
    mechanism does it, too little is learned of them: try 0.01."""
    prior: float = 0.0
    """Share, from 0 to 1, of the circuit's own rates in the DEM: each probability is learned^(1 - share) x
    circuit^share, before --floor. For decoders that add up errors (trellis), and for a circuit whose rates
    were measured, as by benchmarks of its gates: try 0.5. Matching does best without. With --data the circuit
    is that of the first folder of as many rounds; for --rounds, that of the longest experiment."""
    which: Literal["all", "even", "odd"] = "all"
    """Learn from the shots of even or odd index only, counted from 0 through all files."""
    start: int = 0
    """First shot to use."""
    stop: int | None = None
    """The shot after the last to use; left out: all."""


def run(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    config = parse_flags(LearnConfig, "learn-noise", arguments)
    if not 0 <= config.floor < 0.5:
        raise ValueError(f"--floor {config.floor:g} is no probability from 0 to below 1/2")
    if not 0 <= config.prior <= 1:
        raise ValueError(f"--prior {config.prior:g} is no share from 0 (what shots say) to 1 (the circuit)")
    if config.data:
        return _learn_rounds(config)
    if config.rounds:
        raise ValueError("--rounds needs --data: rates of other numbers of rounds are those of experiments")
    if config.circuit is None:
        raise ValueError("give --circuit and --shots, or folders of both by --data")
    check_inputs(config.circuit, *config.shots, *config.sweep)
    from noise_learning import mechanism_frame, summarize_drift
    from sims.shot_files.selection import ShotSelection

    console = make_console()
    selection = ShotSelection(config.which, config.start, config.stop)
    sources = _sources(config)
    check_output_folder(config.out, OUTPUTS, inputs=(config.circuit, *config.shots, *config.sweep))
    circuit = parse_stim(config.circuit, stim.Circuit, "circuit")
    with _status(console, "finding what each noise location does"):
        structure, estimate = _estimator(config, circuit)
    log = _count(sources, circuit, structure, selection, console)
    with _status(console, "fitting"):
        try:
            learned = estimate(log.total)
        except ValueError as error:
            raise ValueError(f"{', '.join(map(str, config.shots))}: {error}") from error
        drift = summarize_drift(learned, log.blocks)
    fit = learned.towards_prior(config.prior).with_floor(config.floor)
    with complete_folder(config.out) as folder:
        fit.dem().to_file(folder / DEM_FILE)
        mechanism_frame(fit).write_parquet(folder / MECHANISMS_FILE)
        notes = fit.notes if fit is learned else (*fit.notes, _TABLES)
        _report(folder, replace(learned, notes=notes), drift, config, selection)
    for line in _summary(fit, config.out):
        console.print(line)
    return 0


def _learn_rounds(config: LearnConfig) -> int:
    from sims.cli.learn_rounds import learn_rounds
    from sims.shot_files.selection import ShotSelection

    _check_data_flags(config)
    selection = ShotSelection(config.which, config.start, config.stop)
    folders = [ExperimentFolder.find(path, detections=True) for path in config.data]
    return learn_rounds(
        folders,
        config.out,
        selection=selection,
        rounds=config.rounds,
        prior=config.prior,
        floor=config.floor,
    )


def _check_data_flags(config: LearnConfig) -> None:
    """Raise ValueError for flags that say something else than --data does."""
    given = {
        "--circuit": config.circuit is not None,
        "--shots": bool(config.shots),
        "--measurements": config.measurements,
        "--format": config.format is not None,
        "--sweep": bool(config.sweep),
        "--sweep-format": config.sweep_format is not None,
        "--estimator": config.estimator != "auto",
        "--share": config.share != "gate-type",
    }
    unused = [flag for flag, was in given.items() if was]
    if unused:
        raise ValueError(
            f"{unused[0]} has no meaning with --data, whose folders hold circuits and detection events, and "
            "whose rates are shared over rounds; leave one of them out"
        )
    few = [rounds for rounds in config.rounds if rounds < 1]
    if few:
        raise ValueError(f"--rounds {few[0]} is no number of rounds; give 1 or more")


def _sources(config: LearnConfig) -> list[ShotSource]:
    if not config.shots:
        raise ValueError("--shots has no value; give at least one file, or folders by --data")
    if config.sweep and len(config.sweep) != len(config.shots):
        raise ValueError(
            f"{len(config.sweep)} files of --sweep for {len(config.shots)} of --shots; give each its own"
        )
    sweeps = config.sweep or (None,) * len(config.shots)
    return [
        ShotSource(
            shots=shots,
            format=shot_format(shots, config.format, "--format"),
            measurements=config.measurements,
            sweep=sweep,
            sweep_format=shot_format(sweep, config.sweep_format, "--sweep-format") if sweep else "b8",
        )
        for shots, sweep in zip(config.shots, sweeps, strict=True)
    ]


def _estimator(config: LearnConfig, circuit: stim.Circuit) -> tuple[Structure, Callable[[Moments], NoiseFit]]:
    """What is learned, and how, before any shot is read."""
    from noise_learning import (
        SharedParameterModel,
        Structure,
        by_gate_type,
        by_location,
        fit_closed_form,
        fit_hybrid,
        fit_shared_parameters,
        learn,
    )

    try:
        if config.estimator == "closed-form":
            structure = Structure.from_circuit(circuit).simplified()
            return structure, lambda moments: fit_closed_form(moments, structure)
        model = SharedParameterModel.of_circuit(
            circuit, share=by_location if config.share == "location" else by_gate_type
        )
    except ValueError as error:
        raise ValueError(f"{config.circuit}: {first_sentence(error)}") from error
    fits: dict[str, Callable[[Moments], NoiseFit]] = {
        "auto": lambda moments: learn(moments, model),
        "shared-parameters": lambda moments: fit_shared_parameters(moments, model),
        "hybrid": lambda moments: fit_hybrid(moments, model, fit_shared_parameters(moments, model)),
    }
    return model.structure, fits[config.estimator]


def _count(
    sources: Sequence[ShotSource],
    circuit: stim.Circuit,
    structure: Structure,
    selection: ShotSelection,
    console: Console,
) -> BlockLog:
    """Streams the selected shots of all files under a progress line."""
    from sims.shot_files.selection import count_blocks

    chunks = (
        detections
        for source in sources
        for detections, _ in source.chunks(
            circuit, num_detectors=structure.num_detectors, num_observables=structure.num_observables
        )
    )
    with shots_progress(console, "counted") as counted:
        return count_blocks(chunks, structure.subsets, selection=selection, on_chunk=counted)


def _report(
    folder: Path, fit: NoiseFit, drift: DriftSummary, config: LearnConfig, selection: ShotSelection
) -> None:
    from noise_learning import (
        ReportContext,
        assumed_model,
        gather_location_classes,
        has_coordinates,
        largest_deviations,
        render_report,
    )
    from sims.plots.noise import DRIFT_PLOT, LATTICE_PLOT, draw_drift, draw_lattice

    classes = gather_location_classes(fit) if has_coordinates(fit.structure) else []
    deviations = largest_deviations(classes)
    if classes:
        draw_lattice(classes, folder / LATTICE_PLOT, against=assumed_model(fit), marked=deviations)
    if len(drift.shots) > 1:
        draw_drift(drift, folder / DRIFT_PLOT)
    context = ReportContext(
        circuit=str(config.circuit),
        shot_files=tuple(map(str, config.shots)),
        selection=str(selection),
        asked_for=config.estimator,
        lattice_plot=LATTICE_PLOT if classes else None,
        drift_plot=DRIFT_PLOT if len(drift.shots) > 1 else None,
    )
    text = render_report(fit, context, deviations=deviations, drift=drift)
    (folder / REPORT_FILE).write_text(text, encoding="utf-8")


def _summary(fit: NoiseFit, out: Path) -> list[str]:
    return [
        f"{fit.shots:,.0f} shots, {len(fit.p):,} mechanisms, estimator {fit.estimator}, "
        f"chi² per degree of freedom {fit.chi2_per_row:.3g}",
        *fit.notes,
        f"detector error model: {out / DEM_FILE} (qecpipe decode --dem)",
        f"report: {out / REPORT_FILE}",
    ]


def _status(console: Console, text: str) -> AbstractContextManager[object]:
    return console.status(text) if console.is_terminal else nullcontext()
