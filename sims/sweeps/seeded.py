"""Collecting a seeded sweep: blocks go out to workers here or on a cluster, and are counted in their order.

Results of one task are written in the order of its blocks, whatever order they arrive in. So the shots that
a CSV counts say which blocks are done, a sweep that is killed goes on with the next one, and `max_errors`
ends a task at the same block wherever it runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from pathlib import Path

import sinter

from sims.decoders import NamedDecoder
from sims.sweeps.blocks import BlockTask, Shard, decode_blocks
from sims.sweeps.collect import Limits, check_decoders, exclusive
from sims.sweeps.executors import Workers
from sims.sweeps.manifest import Manifest
from sims.sweeps.measured_sampler import DECODE_NS, PREDECODE_NS, SAMPLE_NS
from sims.sweeps.results_csv import ResultsFileError, ResultsWriter, read_results

__all__ = ["collect_seeded"]

_SPANS_A_WORKER = 2
"""Spans of blocks that are out for each worker: one in work, one on its way."""
_SPAN_SECONDS = 1.0
"""Spans grow until they take about as long: results are then few, and little is lost when a worker is."""
_LOOK_SECONDS = 2.0
"""Time between looks at whether workers are there, while nothing arrives."""
_WORK = (SAMPLE_NS, DECODE_NS, PREDECODE_NS)


def collect_seeded(
    tasks: Sequence[sinter.Task],
    decoders: Sequence[NamedDecoder],
    *,
    csv_path: Path,
    manifest: Manifest,
    workers: Workers,
    with_gaps: bool = False,
    on_start: Callable[[dict[str, sinter.TaskStats]], None] = lambda existing: None,
    on_progress: Callable[[sinter.Progress], None] = lambda progress: None,
) -> list[sinter.TaskStats]:
    """Decode a shard's blocks until every task reached its limits; totals in the order of `tasks`.

    A task's last block is whole, so it may have up to a block more than the sweep's `max_shots`.

    Args:
        manifest: of the shard; it is written beside the CSV.

    Raises:
        ResultsFileError: a damaged CSV, or one that does not count whole blocks.
        ManifestError: the CSV is of another sweep.
        ValueError: a CSV that another sweep is writing.
        WorkerDiedError: a worker was killed, as when memory is out, or the cluster's scheduler is gone.
        LayoutError, WeightsError: see `check_decoders`.
    """
    check_decoders(tasks, decoders, with_gaps=with_gaps)
    of_name = {named.name: named.decoder for named in decoders}
    csv_path.parent.mkdir(parents=True, exist_ok=True)
    seeded, limits = manifest.seeded, manifest.own_limits
    with exclusive(csv_path):
        manifest.claim(csv_path)
        totals = read_results(csv_path) if csv_path.exists() else {}
        on_start(dict(totals))
        running = [
            _Running(
                BlockTask(
                    task=task,
                    decoder=of_name[str(task.decoder)],
                    key=task.strong_id(),
                    seed=seeded.seed,
                    shots=seeded.block_shots,
                    with_gaps=with_gaps,
                    code=manifest.code,
                )
            )
            for task in tasks
        ]
        for one in running:
            one.begin(totals.get(one.of.key), limits, csv_path)
        with workers.clear_errors(csv_path), ResultsWriter(csv_path) as results:
            for task, stats in _counted(running, limits, seeded.shard, workers):
                new = _row(task, stats)
                results.append(new)
                known = totals.get(new.strong_id)
                totals[new.strong_id] = new if known is None else known + new
                on_progress(sinter.Progress(new_stats=(new,), status_message=""))
    return [totals[task.strong_id()] for task in tasks]


@dataclass
class _Running:
    """One task's blocks: those that are counted, and those that are out, in their order."""

    of: BlockTask
    counted: int = 0
    sent: int = 0
    errors: int = 0
    done: bool = False
    span: int = 1
    out: deque[tuple[int, Future]] = field(default_factory=deque)

    def begin(self, known: sinter.TaskStats | None, limits: Limits, csv_path: Path) -> None:
        if known is not None:
            blocks, rest = divmod(known.shots, self.of.shots)
            if rest:
                raise ResultsFileError(
                    f"{csv_path} counts {known.shots} shots of task {self.of.key[:12]}..., no whole blocks "
                    f"of {self.of.shots}; go on with the same --block-shots, or choose another --out"
                )
            self.counted = self.sent = blocks
            self.errors = known.errors
        self._close(limits)

    def all_sent(self, limits: Limits) -> bool:
        return self.done or self.sent * self.of.shots >= limits.max_shots

    def send(self, shard: Shard, limits: Limits, executor: Executor, *, workers: int) -> Future:
        left = -(-limits.max_shots // self.of.shots) - self.sent
        # The last spans are smaller, so that no worker is left with a whole one when the others are done.
        count = min(self.span, -(-left // (_SPANS_A_WORKER * workers)))
        blocks = [shard.block(self.sent + k) for k in range(count)]
        future = executor.submit(decode_blocks, self.of, blocks)
        self.out.append((count, future))
        self.sent += count
        return future

    def arrived(self, limits: Limits) -> sinter.AnonTaskStats | None:
        """What can be counted now, up to the block that ends the task."""
        total = None
        while self.out and self.out[0][1].done() and not self.done:
            _, future = self.out.popleft()
            found: list[sinter.AnonTaskStats] = future.result()
            self._pace(found)
            for stats in found:
                if self.done:
                    break
                total = stats if total is None else total + stats
                self.counted += 1
                self.errors += stats.errors
                self._close(limits)
        if self.done:
            for _, future in self.out:
                future.cancel()
            self.out.clear()
        return total

    def _close(self, limits: Limits) -> None:
        enough = limits.max_errors is not None and self.errors >= limits.max_errors
        self.done = enough or self.counted * self.of.shots >= limits.max_shots

    def _pace(self, found: list[sinter.AnonTaskStats]) -> None:
        seconds = sum(stats.custom_counts[name] for stats in found for name in _WORK) / 1e9
        if seconds < _SPAN_SECONDS / 2 and len(found) == self.span:
            self.span *= 2
        elif seconds > 2 * _SPAN_SECONDS:
            self.span = max(1, self.span // 2)


def _counted(
    running: list[_Running], limits: Limits, shard: Shard, workers: Workers
) -> Iterator[tuple[sinter.Task, sinter.AnonTaskStats]]:
    """Keeps workers busy, first tasks first; yields what can be counted."""
    out: dict[Future, _Running] = {}
    try:
        while not all(one.done for one in running):
            for one in running:
                while len(out) < _SPANS_A_WORKER * (count := workers.count()) and not one.all_sent(limits):
                    out[one.send(shard, limits, workers.executor, workers=count)] = one
            finished, _ = wait(out, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)
            workers.check()
            touched = {id(one): one for one in (out.pop(future) for future in finished)}
            for one in touched.values():
                stats = one.arrived(limits)
                if stats is not None:
                    yield one.of.task, stats
                if one.done:
                    out = {future: of for future, of in out.items() if of is not one}
    finally:
        for future in out:
            future.cancel()


def _row(task: sinter.Task, stats: sinter.AnonTaskStats) -> sinter.TaskStats:
    return sinter.TaskStats(
        strong_id=task.strong_id(),
        decoder=str(task.decoder),
        json_metadata=task.json_metadata,
        shots=stats.shots,
        errors=stats.errors,
        discards=stats.discards,
        seconds=stats.seconds,
        custom_counts=stats.custom_counts,
    )
