"""`qecpipe fine-tune`: adapt shipped weights to a device, by its shots."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from qec import file_sha256, output_file, read_shots
from sims.cli.console import make_console
from sims.cli.experiment_folder import ExperimentFolder
from sims.cli.files import about, check_output_file, shot_format
from sims.cli.parse_flags import parse_flags
from sims.run_failed import RunFailedError
from sims.statistics import INTERVAL_NAME, error_rate

if TYPE_CHECKING:
    from predecoder.training import Check, FineTuneConfig, Recording, StepReport

RESUME_HINT = "run the same command again and it goes on from the last checkpoint"


@dataclass(frozen=True)
class FineTuneFlags:
    """Adapt a network to a device; if killed, run it again and it goes on from the last checkpoint.

    Every folder of --data is one experiment, named as in Google's records: circuit_noisy.stim,
    detection_events.b8 (or another of Stim's formats), obs_flips_actual.01 with the flips that were measured,
    and a DEM where --dem names one. Without flips (--no-labels) the network learns from simulated shots of
    the DEM. The last shots of each folder are held back and choose the step that is kept; decode others to
    quote a logical error rate. Writes the weights and their card (JSON: folders, shots, what was held back
    and what it said).
    """

    data: tuple[Path, ...]
    """Folders of recorded shots: several numbers of rounds of one patch, or several patches."""
    out: Path
    """Weights file to write (.safetensors); its card goes beside it."""
    from_: Annotated[str, tyro.conf.arg(name="from")] = "accurate"
    """Weights to begin with: a shipped name or a file."""
    dem: str | None = None
    """Name of the DEM in every folder; left out: learned from the shots that are trained on."""
    which: Literal["all", "even", "odd"] = "all"
    """Train on shots of even or odd index only, counted from 0; the others stay unseen."""
    labels: bool = True
    """Learn from the flips that were measured; --no-labels: from simulated shots of the DEM alone."""
    held_back: float = 0.1
    """Share of the shots, the last ones, that choose the step."""
    steps: int = 1200
    """Steps of training in all."""
    checks: int = 8
    """How often, evenly over the steps, the shots held back are decoded."""
    learning_rate: float = 3e-4
    """Learning rate at its plateau; it rises to it, and falls to zero at the end."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What a dense network's residual blocks are trained in; bfloat16 is faster where the CPU has AVX512_BF16
    or AMX."""
    work_dir: Path | None = None
    """Folder for checkpoints; left out: ~/.cache/qecpipe/fine-tune-NAME, NAME being that of --out."""


def run(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    flags = parse_flags(FineTuneFlags, "fine-tune", arguments)
    folders = [
        ExperimentFolder.find(
            path, detections=flags.labels or flags.dem is None, flips=flags.labels, dem=flags.dem
        )
        for path in flags.data
    ]
    if not folders:
        raise ValueError("--data has no value; give at least one folder")
    if flags.out.suffix != ".safetensors":
        raise ValueError(f"--out {flags.out} has to end with .safetensors; its card goes beside it, as .json")
    for out in (flags.out, flags.out.with_suffix(".json")):
        check_output_file(out, inputs=[file for folder in folders for file in folder.inputs])
    from predecoder import load_bundle, resolve_weights, save_weights
    from predecoder.training import FineTuneConfig, fine_tune

    start = resolve_weights(flags.from_)
    config = FineTuneConfig(
        weights=str(start.path),
        steps=flags.steps,
        checks=flags.checks,
        held_back=flags.held_back,
        learning_rate=flags.learning_rate,
        precision=flags.precision,
    )
    work_dir = flags.work_dir or Path.home() / ".cache" / "qecpipe" / f"fine-tune-{flags.out.stem}"
    work_dir.mkdir(parents=True, exist_ok=True)
    recordings = [_recording(folder, flags, work_dir) for folder in folders]
    best, checks = _fine_tune(fine_tune, recordings, config, work_dir)
    bundle = load_bundle(best)
    card = _card(flags, start.sha256, recordings, config, checks)
    flags.out.parent.mkdir(parents=True, exist_ok=True)
    file = save_weights(bundle.network, flags.out, card, policies=bundle.policies)
    console = make_console()
    if best == start.path:
        console.print(f"no step decoded the shots held back better than {flags.from_}: the weights are those")
    console.print(f"weights: {file.path}\nsha256:  {file.sha256}")
    return 0


def _recording(folder: ExperimentFolder, flags: FineTuneFlags, work_dir: Path) -> Recording:
    """As it is trained on; a DEM that has to be learned goes into the work folder."""
    from predecoder.training import RecordedShots, Recording

    shots = None
    if folder.flips is not None:
        first, every = {"all": (0, 1), "even": (0, 2), "odd": (1, 2)}[flags.which]
        shots = RecordedShots(str(folder.detections), str(folder.flips), first=first, every=every)
    return Recording(folder.dem or _learned(folder, flags, work_dir), shots)


def _learned(folder: ExperimentFolder, flags: FineTuneFlags, work_dir: Path) -> Path:
    """A DEM of the shots that are trained on."""
    from noise_learning import learn_noise

    assert folder.detections is not None
    read = f"{file_sha256(folder.circuit)} {file_sha256(folder.detections)}"
    of = f"{read} {flags.which} {flags.held_back:g}"
    made = work_dir / f"{folder.path.name}-{hashlib.sha256(of.encode()).hexdigest()[:12]}.dem"
    if made.exists():
        return made
    circuit = folder.read_circuit()
    shots = read_shots(
        folder.detections,
        format=shot_format(folder.detections, None, "--data"),
        num_detectors=circuit.num_detectors,
    )
    shots = {"all": shots, "even": shots[0::2], "odd": shots[1::2]}[flags.which]
    with make_console().status(f"{folder.path}: learning the noise"), about(folder.detections):
        fit = learn_noise(circuit, shots[: round(len(shots) * (1 - flags.held_back))])
    with output_file(made) as unfinished:
        fit.dem().to_file(unfinished)
    return made


def _fine_tune(
    fine_tune, recordings: list[Recording], config: FineTuneConfig, work_dir: Path
) -> tuple[Path, list[Check]]:
    """Trains under a progress bar, with a line for every check."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from predecoder.training import BatchWorkerDiedError

    columns = (TextColumn("fine-tuning"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=make_console(), refresh_per_second=2) as progress:
        bar = progress.add_task("", total=config.steps)

        def on_step(report: StepReport) -> None:
            progress.update(bar, completed=report.step)

        def on_check(check: Check) -> None:
            rate = error_rate(check.errors, check.shots)
            progress.console.print(
                f"step {check.step}: {check.errors} errors of {check.shots} shots held back, LER "
                f"{rate.best:.5g} [{rate.low:.5g}, {rate.high:.5g}] ({INTERVAL_NAME})",
                highlight=False,
            )

        with _as_run_failed(BatchWorkerDiedError):
            return fine_tune(recordings, config, work_dir, on_step=on_step, on_check=on_check)


@contextmanager
def _as_run_failed(kind: type[Exception]) -> Iterator[None]:
    try:
        yield
    except kind as error:
        raise RunFailedError(str(error)) from error


def _card(
    flags: FineTuneFlags, start: str, recordings: list[Recording], config: FineTuneConfig, checks: list[Check]
) -> dict:
    return {
        "name": flags.out.stem,
        "fine_tuned_from": {"weights": flags.from_, "sha256": start},
        "data": [
            {"folder": str(folder), **dataclasses.asdict(r), "dem": str(r.dem)}
            for folder, r in zip(flags.data, recordings, strict=True)
        ],
        "which": flags.which,
        "labels": "measured flips" if flags.labels else "simulated shots of the DEM",
        "config": dataclasses.asdict(config),
        "checks": [dataclasses.asdict(check) for check in checks],
        "note": "The shots held back chose the step, so their LER at it flatters; decode others for one.",
    }
