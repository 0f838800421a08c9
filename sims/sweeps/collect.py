"""Running a sweep: sinter collects into a CSV that can be interrupted and resumed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import sinter

from global_decoders import require_gap
from qec import locked
from sims.decoders import NamedDecoder
from sims.sweeps.measured_sampler import MeasuredSampler
from sims.sweeps.results_csv import ResultsWriter, read_results
from sims.sweeps.workers import WatchedCollectionManager, WorkerDiedError

MAX_BATCH_SHOTS = 1 << 14
"""sinter's own limit is 1024, where a batched network starves; the batches grow only to about a second."""
FLUSH_SECONDS = 5
"""Workers report at least this often: the most that a kill can cost, and the pace of the display."""


@dataclass(frozen=True)
class Limits:
    """When a task is done: at `max_shots`, or at `max_errors` if that comes first."""

    max_shots: int
    max_errors: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("max_shots", self.max_shots), ("max_errors", self.max_errors)):
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")


def usable_cores() -> list[int]:
    """The CPU ids that this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def collect_sweep(
    tasks: Sequence[sinter.Task],
    decoders: Sequence[NamedDecoder],
    *,
    csv_path: Path,
    limits: Limits,
    workers: int,
    with_gaps: bool = False,
    on_start: Callable[[dict[str, sinter.TaskStats]], None] = lambda existing: None,
    on_progress: Callable[[sinter.Progress], None] = lambda progress: None,
    prepare_worker: Callable[[], None] | None = None,
) -> list[sinter.TaskStats]:
    """Sample and decode until every task reached its limits; totals in the order of `tasks`.

    Rows already in `csv_path` count towards the limits, and each new row is appended as soon as a
    worker reports it, so a killed sweep goes on where it was when it is called again. `on_start` is
    given the totals by strong id that were there; `with_gaps` counts shots by their gap (`GapCounts`);
    `prepare_worker`, which can be pickled, is called in every
    worker process as it starts. Raises `ResultsFileError` for a damaged CSV,
    ValueError for one that another sweep is writing, `WorkerDiedError` when a worker is killed, and what
    `check_decoders` raises.
    """
    check_decoders(tasks, decoders, with_gaps=with_gaps)
    csv_path.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(csv_path):
        totals = read_results(csv_path) if csv_path.exists() else {}
        on_start(dict(totals))
        with (
            ResultsWriter(csv_path) as results,
            _original_error(csv_path),
            contextlib.closing(
                _collected(
                    tasks,
                    {
                        named.name: MeasuredSampler(named.decoder, prepare_worker, with_gaps=with_gaps)
                        for named in decoders
                    },
                    totals,
                    limits=limits,
                    workers=workers,
                )
            ) as collected,
        ):
            for progress in collected:
                for new in progress.new_stats:
                    results.append(new)
                    known = totals.get(new.strong_id)
                    totals[new.strong_id] = new if known is None else known + new
                on_progress(progress)
    return [totals[task.strong_id()] for task in tasks]


def _collected(
    tasks: Sequence[sinter.Task],
    samplers: Mapping[str, MeasuredSampler],
    existing: dict[str, sinter.TaskStats],
    *,
    limits: Limits,
    workers: int,
) -> Generator[sinter.Progress, None, None]:
    """What `sinter.iter_collect` yields, with workers that are watched."""
    reported: list[sinter.TaskStats] = []

    def report(stats: sinter.TaskStats | None) -> None:
        if stats is not None:
            reported.append(stats)

    with WatchedCollectionManager(
        num_workers=workers,
        tasks=tasks,
        collection_options=sinter.CollectionOptions(
            max_shots=limits.max_shots,
            max_errors=limits.max_errors,
            max_batch_size=MAX_BATCH_SHOTS,
            max_batch_seconds=FLUSH_SECONDS,
        ),
        existing_data=dict(existing),
        custom_decoders=dict(samplers),
        allowed_cpu_affinity_ids=usable_cores(),
        worker_flush_period=FLUSH_SECONDS,
        progress_callback=report,
    ) as manager:
        manager.start_workers()
        manager.start_distributing_work()
        while manager.task_states:
            manager.process_message()
            for stats in reported:
                yield sinter.Progress(new_stats=(stats,), status_message="")
            reported.clear()


def check_decoders(
    tasks: Sequence[sinter.Task], decoders: Sequence[NamedDecoder], *, with_gaps: bool = False
) -> None:
    """Compile every decoder for the first task's model, so that what cannot work fails before any output.

    Raises `LayoutError` or `WeightsError` where a pre-decoder does not fit the circuit or its file,
    `NoGapError` where gaps are asked of a decoder that has none.
    """
    for named in decoders:
        if tasks and (dem := tasks[0].detector_error_model) is not None:
            compiled = named.compiled(dem)
            if with_gaps:
                require_gap(compiled, num_detectors=dem.num_detectors)


def exclusive(csv_path: Path) -> AbstractContextManager[None]:
    """Hold a lock beside the CSV. Raises ValueError where another sweep holds it."""
    busy = f"{csv_path} is being written by another sweep; wait for it or choose another --out"
    return locked(csv_path.with_name(f".{csv_path.name}.lock"), busy=busy)


@contextlib.contextmanager
def _original_error(csv_path: Path) -> Iterator[None]:
    """Raise what went wrong, or the interrupt, instead of what sinter wraps around it."""
    try:
        yield
    except WorkerDiedError as error:
        raise WorkerDiedError(f"{error}; {_kept(csv_path)}") from None
    except (RuntimeError, ValueError) as error:
        if not str(error).startswith("Worker failed"):
            raise
        if isinstance(error.__cause__, MemoryError):
            raise WorkerDiedError(
                f"a worker process ran out of memory; give fewer --workers; {_kept(csv_path)}"
            ) from error
        if isinstance(error.__cause__, ValueError | ImportError):
            raise error.__cause__ from None
        raise
    except AttributeError as error:
        # Ctrl-C, or no process to be had, while sinter starts its workers: its clean-up trips over the one
        # that has no process yet.
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def _kept(csv_path: Path) -> str:
    return f"what was reported is in {csv_path}, and the same command goes on from there"
