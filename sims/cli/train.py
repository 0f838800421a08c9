"""`qecpipe train`: train a pre-decoder from a TOML configuration."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sims.cli.console import make_console
from sims.cli.files import about, check_output_file, check_output_folder
from sims.cli.options import above_zero, at_most_cores
from sims.cli.parse_flags import parse_flags
from sims.run_failed import RunFailedError

if TYPE_CHECKING:
    from predecoder import Policies, WeightsFile
    from predecoder.network import Network
    from predecoder.training import Processes, StepReport, TrainConfig

RESUME_HINT = "run the same command again and it goes on from the last checkpoint"
_SMOOTHING_STEPS = 100
_EVALUATION_SEED = 20_260_000


@dataclass(frozen=True)
class TrainFlags:
    """Train a network; if killed, run it again and it goes on from the last checkpoint.

    Runs the configuration's stages in order. Writes checkpoints and a JSON-lines log to a folder for
    every stage in the work folder, and at the end the weights (safetensors) and their card (JSON: data,
    seeds, steps and losses of the stages, measured LER table, git revision).

    Several processes: torchrun --standalone --nproc-per-node 2 --no-python qecpipe train --config FILE.
    A step then takes a batch of each and averages the gradients; the learning rate stays as configured,
    and a run goes on with as many processes as it began with. If one dies, all end; if one hangs, they
    do after ten minutes.
    """

    config: Path
    """TOML file that describes network, optimizer, data and tasks (see configs/)."""
    work_dir: Path | None = None
    """Folder for checkpoints and the log; left out: ~/.cache/qecpipe/NAME."""
    out: Path | None = None
    """Weights file to write; left out: WORK_DIR/NAME.safetensors."""
    resume: bool = True
    """Go on from the work folder's checkpoint; --no-resume starts again and overwrites it."""
    device: str = "auto"
    """Where to train: cpu; cuda, or one GPU, such as cuda:1; auto is a GPU if there is one to use."""
    threads: int | None = None
    """CPU threads of torch; left out: torch's choice."""
    minutes: float | None = None
    """Minutes that the schedule takes, in place of the configuration's steps, which then follow from the
    speed of its first quarter; for configurations of one stage."""
    evaluation_shots: float = 1.0
    """Factor on the shots of the table of logical error rates on the card; 0 leaves the table out."""


def run(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    flags = parse_flags(TrainFlags, "train", arguments)
    if not flags.config.is_file():
        raise ValueError(f"no configuration file {flags.config}; give an existing TOML file with --config")
    if flags.evaluation_shots < 0:
        raise ValueError(f"--evaluation-shots is {flags.evaluation_shots}; it must be 0 or more")
    if flags.threads is not None:
        at_most_cores("--threads", flags.threads)
    if flags.minutes is not None:
        above_zero("--minutes", flags.minutes)
    import torch

    from predecoder import save_weights
    from predecoder.inference import select_device
    from predecoder.training import load_config
    from sims.cli.network_flags import say_why_not_cuda
    from sims.cli.torchrun import joined_processes

    with about(flags.config):
        config = load_config(flags.config)
    work_dir = flags.work_dir or Path.home() / ".cache" / "qecpipe" / config.name
    out = flags.out or work_dir / f"{config.name}.safetensors"
    check_output_folder(work_dir, flag="--work-dir")
    _check_out(out, inputs=(flags.config, *_files_of(config)))
    device = select_device(flags.device)
    if flags.device == "auto" and device.type == "cpu":
        say_why_not_cuda()
    if flags.threads is not None:
        torch.set_num_threads(flags.threads)
    with joined_processes(device) as processes:
        network = _train(config, work_dir, flags, device=device, processes=processes)
    if processes.rank > 0:
        return 0
    stages = [
        {"stage": stage.name, "processes": processes.world_size} | _last_steps(work_dir / stage.name)
        for stage in config.stages
    ]
    results = _evaluate(network, config.policies, device=device, scale=flags.evaluation_shots)
    out.parent.mkdir(parents=True, exist_ok=True)
    file = save_weights(network, out, _card(config, flags.config, stages, results), policies=config.policies)
    _report(file, results)
    return 0


def _check_out(out: Path, *, inputs: tuple[str | Path | None, ...]) -> None:
    """Raise, before any training, where the weights and their card cannot go to `out`."""
    if out.suffix != ".safetensors":
        raise ValueError(f"--out {out} has to end with .safetensors; its card goes beside it, as .json")
    check_output_file(out, inputs=inputs)
    check_output_file(out.with_suffix(".json"), flag="the card of --out", inputs=inputs)


def _files_of(config: TrainConfig) -> tuple[str | Path | None, ...]:
    """What a run reads: weights to start from and to learn from, and error models."""
    stages = config.stages
    models = [task.dem for stage in stages for task in stage.tasks]
    weights = [
        name or None
        for stage in stages
        for name in (stage.init, stage.data.network, stage.class_loss.miner, stage.class_teacher)
    ]
    return (*weights, *models)


def _train(
    config: TrainConfig, work_dir: Path, flags: TrainFlags, *, device, processes: Processes
) -> Network:
    """Trains under a progress bar, the first process's."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from predecoder.training import BatchWorkerDiedError, train

    losses: deque[float] = deque(maxlen=_SMOOTHING_STEPS)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[status]}"),
        TimeRemainingColumn(),
    )
    hidden = processes.rank > 0
    with Progress(*columns, console=make_console(), refresh_per_second=2, disable=hidden) as progress:
        last_steps = {stage.name: stage.optimizer.last_step for stage in config.stages}
        bar = progress.add_task(f"training {config.name}", total=None, status="")

        def on_step(report: StepReport) -> None:
            losses.append(report.loss)
            mean = sum(losses) / len(losses)
            status = f"loss {mean:.5f}  {report.samples / 1e6:.2f} M shots"
            progress.update(
                bar,
                description=f"training {config.name}, {report.stage}",
                total=last_steps[report.stage],
                completed=report.step,
                status=status,
            )

        try:
            return train(
                config,
                work_dir,
                device=device,
                resume=flags.resume,
                on_step=on_step,
                processes=processes,
                minutes=flags.minutes,
            )
        except BatchWorkerDiedError as error:
            raise RunFailedError(str(error)) from error


def _last_steps(folder: Path) -> dict:
    """Counters of a stage's last step, the losses and the speed over the last ones, for the card."""
    lines = (folder / "log.jsonl").read_text().splitlines()[-_SMOOTHING_STEPS:]
    steps = [json.loads(line) for line in lines]
    last = steps[-1]
    means = {}
    for key in ("loss", "marginal", "logical_class", "update_seconds"):
        values = [step[key] for step in steps if step.get(key) is not None]
        if last[key] is not None:
            means[key] = sum(values) / len(values)
    return {key: last[key] for key in ("step", "samples", "seconds", "precision")} | means


def _evaluate(network: Network, policies: Policies, *, device, scale: float) -> list[dict]:
    """The LER table of the card: one row a case and global decoder."""
    from rich.progress import track

    from predecoder.training import DEFAULT_CASES, PairedEvaluator

    rows = []
    for case in track(DEFAULT_CASES if scale else (), "measuring LER", console=make_console()):
        counts = PairedEvaluator(network, policies, case, device=device).run(
            max(1, round(case.shots * scale)), seed=_EVALUATION_SEED + case.distance
        )
        for decoder, c in counts.items():
            rows.append(
                {"distance": case.distance, "rounds": case.distance, "p": case.p, "basis": case.basis}
                | {"decoder": decoder}
                | dataclasses.asdict(c)
                | {"ratio": round(c.ratio, 4), "ratio_interval": [round(x, 4) for x in c.ratio_interval]}
                | {"sdr": round(c.sdr, 2)}
            )
    return rows


def _card(config: TrainConfig, source: Path, stages: list[dict], results: list[dict]) -> dict:
    return {
        "name": config.name,
        "command": f"qecpipe train --config {source}",
        "git_revision": _git_revision(),
        "training": stages,
        "config": dataclasses.asdict(config),
        "distilled_from": _distilled_from(config),
        "class_teachers": _class_teachers(config),
        "ler": results,
    }


def _distilled_from(config: TrainConfig) -> dict[str, str]:
    """Hashes of the weights that gave the labels of stages, by stage."""
    from predecoder import resolve_weights

    distilled = [stage for stage in config.stages if stage.data.labels == "distilled"]
    return {stage.name: resolve_weights(stage.data.network).sha256 for stage in distilled}


def _class_teachers(config: TrainConfig) -> dict[str, str]:
    """Hashes of the weights whose classes stages learnt, by stage."""
    from predecoder import resolve_weights

    return {s.name: resolve_weights(s.class_teacher).sha256 for s in config.stages if s.class_teacher}


def _git_revision() -> str:
    """Revision of the source tree, '-dirty' if it has changes, 'unknown' outside a checkout."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _report(file: WeightsFile, results: list[dict]) -> None:
    from rich.table import Table

    console = make_console()
    table = Table(title="pre-decoded against plain, same shots")
    shown = {"distance": "d", "p": "p", "basis": "basis", "decoder": "decoder", "shots": "shots"}
    shown |= {"errors_plain": "plain", "errors_predecoded": "pre-decoded", "only_plain": "only plain"}
    shown |= {"only_predecoded": "only pre-decoded", "ratio": "ratio", "sdr": "SDR"}
    for name in shown.values():
        table.add_column(name, justify="right")
    for row in results:
        table.add_row(*(str(row[key]) for key in shown))
    if results:
        console.print(table)
    console.print(f"weights: {file.path}\nsha256:  {file.sha256}")
