"""`qecpipe sweep`: logical error rates of decoders over distances and physical error rates."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import sinter

from sims.cli.console import make_console
from sims.cli.files import check_inputs, check_output_folder
from sims.cli.network_flags import NetworkFlags
from sims.cli.options import at_least_one, at_most_cores, positive, weights_file
from sims.cli.parse_flags import parse_flags
from sims.decoders import NamedDecoder
from sims.plain_warnings import plain_warnings
from sims.plots.kept import LER_VS_KEPT, draw_kept
from sims.plots.ler_vs_time import LER_VS_TIME, draw_ler_vs_time
from sims.plots.sweep import LER_VS_DISTANCE, LER_VS_P, draw_sweep
from sims.sweeps.blocks import BLOCK_SHOTS, Seeded, Shard
from sims.sweeps.collect import Limits, collect_sweep, usable_cores
from sims.sweeps.executors import SLURM, cluster_workers, local_workers
from sims.sweeps.kept import kept_stats
from sims.sweeps.manifest import Manifest
from sims.sweeps.progress import SweepProgress
from sims.sweeps.results_csv import write_results
from sims.sweeps.seeded import collect_seeded
from sims.sweeps.summary import summarize, summary_table
from sims.sweeps.tasks import CircuitFamily, sweep_tasks

RESUME_HINT = "what was reported is in the CSV; run the same command again and it goes on from there"
RESULTS, KEPT = "results.csv", "kept.csv"
"""Names of the sinter CSVs in --out: what was collected, and what follows from it for the kept shots."""


@dataclass(frozen=True, kw_only=True)
class SweepConfig(NetworkFlags, CircuitFamily):
    """Count the logical errors of decoders over distances, physical error rates and bases.

    Kill it at any time and run the same command again: what is in the CSV stays, and nothing is
    counted twice. A larger --max-shots adds to the shots that are there.
    """

    decoder: tuple[str, ...] = (
        "pymatching",
        "pymatching-correlated",
        "neural-matching",
        "predecoder+pymatching",
        "predecoder+pymatching-correlated",
    )
    """Names of decoders; predecoder+NAME puts the network before any of them, and
    neural-matching matches on the network's logits; neural-ensemble asks for second opinions besides;
    cascade:FIRST,SECOND@1% hands the per cent of shots that FIRST doubts most to SECOND."""
    max_shots: int = 15_000
    """Shots of every task: one circuit and one decoder."""
    max_errors: int | None = None
    """Logical errors at which a task ends before --max-shots; left out: none."""
    workers: int | None = None
    """Processes that sample and decode; left out: one per core."""
    keep: tuple[float, ...] = ()
    """Fractions of the shots, such as 0.9 0.99: error rates of those that a decoder is surest of, the others
    being discarded. For decoders that say how sure they are; rows without --keep count apart."""
    out: Path = Path("out/sweep")
    """Folder for results.csv and the plots; with --keep also for kept.csv, whose rows have discards."""
    seed: int | None = None
    """Seed of the shots, which come in blocks with seeds of their own derived from it: the same on every
    machine with the same versions and vector width. Left out: from the operating system's entropy."""
    block_shots: int = BLOCK_SHOTS
    """Shots of a block, with --seed."""
    shard: str | None = None
    """With --seed: take a part of the blocks, such as 2/8, into results-2-of-8.csv; all parts with the same
    --seed and limits are put together by `qecpipe merge`. --max-errors is shared equally."""
    cluster: str | None = None
    """With --seed: decode on the workers of dask://HOST:PORT, or of slurm (--workers jobs, as dask-jobqueue
    is set up); left out: on this machine."""
    resume: bool = True
    """Count what is in results.csv already; --no-resume refuses to touch a file that exists."""


def run(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    config = parse_flags(SweepConfig, "sweep", arguments)
    check_inputs(config.noise_file, config.weights_input)
    wrong = [fraction for fraction in config.keep if not 0 < fraction <= 1]
    if wrong:
        raise ValueError(f"--keep {wrong[0]:g} is not above 0 and at most 1; it is a fraction of the shots")
    console = make_console()
    limits = Limits(config.max_shots, config.max_errors)
    workers = _workers(config)
    check_output_folder(
        config.out,
        (RESULTS, LER_VS_P, LER_VS_DISTANCE, LER_VS_TIME, *((KEPT, LER_VS_KEPT) if config.keep else ())),
        inputs=(weights_file(config.weights), config.noise_file),
    )
    config.check_opinions(config.decoder)
    seeded = _seeded(config)
    csv_path = _csv_path(config, seeded)
    decoders = [
        config.build(name, threads=1 if workers > 1 else None)
        for name in dict.fromkeys(at_least_one("--decoder", config.decoder))
    ]
    with console.status("building circuits and their error models") if console.is_terminal else nullcontext():
        tasks = sweep_tasks(config, decoders, with_gaps=bool(config.keep))
    config.say_choices(decoders)
    progress = SweepProgress(workers=workers, console=console)
    with plain_warnings("qecpipe sweep") as shown, progress.live():
        if seeded is None:
            stats = collect_sweep(
                tasks,
                decoders,
                csv_path=csv_path,
                limits=limits,
                workers=workers,
                with_gaps=bool(config.keep),
                on_start=lambda existing: progress.begin(tasks, existing, limits),
                on_progress=progress.update,
                prepare_worker=shown.install,
            )
        else:
            stats = _collect_seeded(
                config, seeded, tasks, decoders, csv_path, limits, progress, shown.install
            )
    kept = kept_stats(stats, sorted(set(config.keep)))
    console.print(summary_table(summarize([*stats, *kept])))
    if seeded is not None and seeded.shard.of > 1:
        console.print(
            f"shard {seeded.shard}: {csv_path}; put all together with: qecpipe merge CSV... --out FOLDER"
        )
        return 0
    if config.keep:
        write_results(kept, config.out / KEPT)
    figures = _draw(config, stats)
    console.print(f"results: {csv_path}\nplots:   {', '.join(map(str, figures))}")
    console.print(_advice(config))
    return 0


def _csv_path(config: SweepConfig, seeded: Seeded | None) -> Path:
    """Where rows go: a new file, or one that they may be added to."""
    csv_path = config.out / (RESULTS if seeded is None else shard_csv(seeded.shard))
    if seeded is None and Manifest.path(csv_path).exists():
        raise ValueError(
            f"{csv_path} is of a sweep with --seed, which shots without one must not be mixed with; give the "
            "same --seed, or choose another --out"
        )
    if csv_path.exists() and not config.resume:
        raise ValueError(
            f"{csv_path} exists and --no-resume must not overwrite it; delete it, choose another --out, "
            "or leave --no-resume out to add to it"
        )
    return csv_path


def _draw(config: SweepConfig, stats: list[sinter.TaskStats]) -> list[Path]:
    """The plots for which there are results."""
    figures = [*draw_sweep(stats, config.out), draw_ler_vs_time(stats, config.out)]
    if config.keep:
        figures.append(draw_kept(stats, config.out))
    return [figure for figure in figures if figure is not None]


def _workers(config: SweepConfig) -> int:
    """Processes here; on a cluster they are others'."""
    if config.cluster is None:
        return len(usable_cores()) if config.workers is None else at_most_cores("--workers", config.workers)
    if config.workers is not None and config.cluster != SLURM:
        raise ValueError(
            f"--workers {config.workers} has no meaning with --cluster {config.cluster}, whose workers are "
            "there already; leave it out"
        )
    return 1 if config.workers is None else positive("--workers", config.workers)


def shard_csv(shard: Shard) -> str:
    """Name of a shard's CSV in --out."""
    return RESULTS if shard.of == 1 else f"results-{shard.number}-of-{shard.of}.csv"


def _seeded(config: SweepConfig) -> Seeded | None:
    """Which blocks are taken; None for shots from entropy."""
    if config.seed is not None:
        shard = Shard() if config.shard is None else Shard.parse(config.shard)
        return Seeded(config.seed, config.block_shots, shard)
    for flag, value in (("--shard", config.shard), ("--cluster", config.cluster)):
        if value is not None:
            raise ValueError(f"{flag} {value} needs --seed, the same one wherever parts of a sweep are taken")
    return None


def _collect_seeded(
    config: SweepConfig,
    seeded: Seeded,
    tasks: list[sinter.Task],
    decoders: list[NamedDecoder],
    csv_path: Path,
    limits: Limits,
    progress: SweepProgress,
    prepare_worker: Callable[[], None],
) -> list[sinter.TaskStats]:
    """The shard's blocks, decoded here or on a cluster."""
    manifest = Manifest.of(tasks, seeded=seeded, limits=limits)
    own = manifest.own_limits
    able = (
        local_workers(progress.workers, prepare_worker)
        if config.cluster is None
        else cluster_workers(config.cluster, jobs=config.workers)
    )
    with able as workers:
        progress.workers = workers.count()
        return collect_seeded(
            tasks,
            decoders,
            csv_path=csv_path,
            manifest=manifest,
            workers=workers,
            with_gaps=bool(config.keep),
            on_start=lambda existing: progress.begin(tasks, existing, own),
            on_progress=progress.update,
        )


def _advice(config: SweepConfig) -> str:
    bounded = "" if config.max_errors is None else f" and --max-errors {4 * config.max_errors}"
    return (
        f"Tighter intervals: the same command with --max-shots {4 * config.max_shots}{bounded} halves them "
        "and adds to these shots; fewer --distance, --p, --basis or --decoder leave the others more time."
    )
