"""Collecting rare events for sinter's tasks: runs go out to workers, and are counted in their order."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import sinter
import stim

from qec import locked
from sims.rare.estimate import RareRate
from sims.rare.log import FINDS_LADDER, RUNS, RareLog, Run
from sims.rare.runs import RareTask, do_run
from sims.rare.splitting import Effort, Ladder, Repetition
from sims.sweeps.executors import Workers, local_workers
from sims.sweeps.labels import ESTIMATOR
from sims.sweeps.tasks import decoder_dem
from sims.sweeps.versions import code_versions

__all__ = ["Collected", "Until", "collect_rare", "rare_task"]

SPLITTING = "splitting"
"""`ESTIMATOR` in the `json_metadata` of rows of rare events: their shots and errors are effective ones."""
DECODED, REPETITIONS, ANCESTORS = "decoded", "repetitions", "ancestors"
"""Custom counts of such rows: shots that were decoded, estimates that their rate is the mean of, and direct
shots that these rest on, `RareRate.ancestors`."""
_MARGIN = 1.5
"""Ancestors to plan for, for each effective error that is wanted: estimates have more of them, or fewer."""


@dataclass(frozen=True)
class Until:
    """How many repetitions a task gets, which is settled before the first of them: nothing that a repetition
    finds decides whether it counts, or whether there is another one.

    Attributes:
        repetitions: the most.
        effective_errors: as many as the run that found the ladder, which does not count itself, says that
            this takes; None for all.
        least: the fewest, so that their spread makes an interval.
    """

    repetitions: int = 64
    effective_errors: float | None = 100.0
    least: int = 8

    def __post_init__(self) -> None:
        if self.repetitions < 2:
            raise ValueError(f"repetitions is {self.repetitions}; an interval needs at least 2")
        if self.effective_errors is not None and not self.effective_errors > 0:
            raise ValueError(f"effective_errors is {self.effective_errors:g}; it must be above 0")

    def count(self, search: Repetition) -> int:
        """Repetitions, from what the run that found the ladder has found."""
        if self.effective_errors is None or not search.ancestors:
            return self.repetitions
        needed = math.ceil(_MARGIN * self.effective_errors / search.ancestors)
        return min(self.repetitions, max(self.least, needed))


@dataclass(frozen=True, eq=False)
class Collected:
    """What was found of one task.

    Attributes:
        runs: the repetitions that count, in their order.
        search: the run that found the ladder, which does not count.
    """

    task: sinter.Task
    rare: RareRate
    runs: tuple[Run, ...]
    search: Run

    @property
    def decoded(self) -> int:
        """Shots, those of the search among them."""
        return self.search.found.decoded + sum(run.found.decoded for run in self.runs)

    @property
    def seconds(self) -> float:
        """On one core, the search among them."""
        return self.search.seconds + sum(run.seconds for run in self.runs)

    @property
    def stats(self) -> sinter.TaskStats:
        """A row for sinter: effective counts, as its `json_metadata` says, of the rate and its precision."""
        shots, errors = self.rare.counts
        return sinter.TaskStats(
            strong_id=self.task.strong_id(),
            decoder=str(self.task.decoder),
            json_metadata=self.task.json_metadata,
            shots=shots,
            errors=errors,
            seconds=self.seconds,
            custom_counts=Counter(
                {
                    DECODED: self.decoded,
                    REPETITIONS: len(self.runs),
                    ANCESTORS: math.floor(self.rare.ancestors),
                }
            ),
        )


_EFFORT, _UNTIL = Effort(), Until()


def rare_task(task: sinter.Task) -> sinter.Task:
    """The task as its rows name it: one whose counts are effective is another one than one whose shots are.

    Raises:
        ValueError: it has no decoder, or postselects.
    """
    if task.decoder is None:
        raise ValueError("a task has no decoder; name one in sinter.Task(decoder=...)")
    if task.postselection_mask is not None or task.postselected_observables_mask is not None:
        raise ValueError("a task postselects, which splitting does not know; leave the masks out")
    circuit = stim.Circuit.from_file(task.circuit_path) if task.circuit is None else task.circuit
    dem, given = task.detector_error_model, task.json_metadata
    metadata = given if isinstance(given, dict) else {"metadata": given}
    return sinter.Task(
        circuit=circuit,
        detector_error_model=decoder_dem(circuit) if dem is None else dem,
        decoder=task.decoder,
        json_metadata=metadata | {ESTIMATOR: SPLITTING},
    )


def collect_rare(
    tasks: Sequence[sinter.Task],
    decoders: Mapping[str, sinter.Decoder],
    *,
    folder: Path,
    seed: int,
    effort: Effort = _EFFORT,
    until: Until = _UNTIL,
    workers: int = 1,
    prepare_worker: Callable[[], None] | None = None,
    report: Callable[[sinter.Task, str], None] = lambda task, text: None,
) -> Iterator[Collected]:
    """Estimate the logical error rate of every task, however small, and yield them in their order.

    Runs that are in `folder` already count, each new one is there as soon as it is done, and an interrupted
    collection goes on with the same numbers as one that was not, whatever the number of workers.

    Args:
        tasks: each with the name of its decoder; `.stats` of what is yielded are sinter's rows of them.
        decoders: by name, black boxes; what `sims.sinter_decoders()` returns, for one.
        folder: for the log of runs and its manifest.
        prepare_worker: can be pickled; called in every worker process as it starts.
        report: told what is found on the way.

    Raises:
        RareLogError: the folder is of another collection, or damaged.
        ValueError: a task whose decoder is unknown, that postselects or never fails; a folder in use.
        WorkerDiedError: a worker was killed, as when memory is out.
    """
    tasks = [rare_task(task) for task in tasks]
    code = code_versions()
    of = [
        RareTask(
            key=task.strong_id(),
            dem=task.detector_error_model,
            decoder=_decoder(task, decoders),
            seed=seed,
            effort=effort,
            code=code,
        )
        for task in tasks
    ]
    folder.mkdir(parents=True, exist_ok=True)
    busy = f"{folder} is being written by another collection; wait for it or choose another --out"
    with locked(folder / f".{RUNS}.lock", busy=busy):
        log = RareLog(folder, tasks, seed=seed, effort=effort)
        pool = local_workers(workers, prepare_worker) if workers > 1 else nullcontext(None)
        with pool as others:
            for task, one in zip(tasks, of, strict=True):
                yield _collected(task, one, log, until, others, lambda text, task=task: report(task, text))


def _collected(
    task: sinter.Task,
    of: RareTask,
    log: RareLog,
    until: Until,
    workers: Workers | None,
    report: Callable[[str], None],
) -> Collected:
    search = log.runs.get((of.key, FINDS_LADDER))
    if search is None:
        search = do_run(of, FINDS_LADDER, None, report)
        log.append(search)
        report(f"ladder of {len(search.tilts)} steps found in {search.found.decoded:,} shots")
    ladder = Ladder(search.tilts)
    count = until.count(search.found)
    runs: list[Run] = []
    if workers is None:
        new = _here(of, ladder, log, count, report)
    else:
        new = _there(of, ladder, log, count, workers)
    for run in new:
        runs.append(run)
        found = [one.found for one in runs]
        if len(runs) > 1 and any(one.ancestors for one in found):
            rare = RareRate.of(found)
            worth = f"{rare.effective_errors:.0f} effective errors"
            report(f"{len(runs)} of {count} repetitions: {rare.rate.best:.2e}, {worth}")
    return Collected(task, RareRate.of([run.found for run in runs]), tuple(runs), search)


def _here(
    of: RareTask, ladder: Ladder, log: RareLog, count: int, report: Callable[[str], None]
) -> Iterator[Run]:
    """The first `count` repetitions, in their order; those in the log are not done again."""
    for index in range(count):
        run = log.runs.get((of.key, index))
        if run is None:
            run = do_run(of, index, ladder, lambda text, k=index: report(f"repetition {k + 1}: {text}"))
            log.append(run)
        yield run


def _there(of: RareTask, ladder: Ladder, log: RareLog, count: int, workers: Workers) -> Iterator[Run]:
    """The same by workers."""
    out: dict[Future[Run], int] = {}
    sent, index = 0, 0
    with workers.clear_errors(log.path):
        try:
            while index < count:
                while sent < count and len(out) < workers.count():
                    if (of.key, sent) not in log.runs:
                        out[workers.executor.submit(do_run, of, sent, ladder)] = sent
                    sent += 1
                while index < count and (run := log.runs.get((of.key, index))) is not None:
                    index += 1
                    yield run
                finished, _ = wait(out, timeout=2.0, return_when=FIRST_COMPLETED)
                workers.check()
                for future in finished:
                    del out[future]
                    log.append(future.result())
        finally:
            for future in out:
                future.cancel()


def _decoder(task: sinter.Task, decoders: Mapping[str, sinter.Decoder]) -> sinter.Decoder:
    if task.decoder not in decoders:
        raise ValueError(f"decoder {task.decoder!r} is not among those given: {', '.join(decoders)}")
    return decoders[task.decoder]
