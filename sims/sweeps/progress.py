"""What a running sweep shows: per task shots, errors, error rate so far and time left."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import sinter
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sims.sweeps.collect import Limits
from sims.sweeps.measured_sampler import SAMPLE_NS


@dataclass
class TaskProgress:
    """Counts of one task so far, those of earlier runs included."""

    task: sinter.Task
    stats: sinter.AnonTaskStats
    limits: Limits

    def fraction(self) -> float:
        """Share of the task that is done, by shots or by errors, whichever ends it first."""
        limits = self.limits
        by_errors = 0.0 if limits.max_errors is None else self.stats.errors / limits.max_errors
        return min(1.0, max(self.stats.shots / limits.max_shots, by_errors))

    def core_seconds_left(self) -> float | None:
        """Seconds one core needs to finish, from this task's pace so far; None before its first shot."""
        done = self.fraction()
        if done >= 1:
            return 0.0
        if done == 0:
            return None
        return self.core_seconds_spent() * (1 - done) / done

    def core_seconds_spent(self) -> float:
        """Seconds of sampling and decoding so far."""
        return self.stats.seconds + self.stats.custom_counts[SAMPLE_NS] / 1e9


@dataclass
class SweepProgress:
    """A rich renderable of all tasks; `begin` it, then feed it sinter's progress with `update`."""

    workers: int
    console: Console
    tasks: dict[str, TaskProgress] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def begin(
        self, tasks: Sequence[sinter.Task], existing: Mapping[str, sinter.TaskStats], limits: Limits
    ) -> None:
        """Show `tasks`, of which `existing` (by strong id) is already counted."""
        rows = {}
        for task in tasks:
            known = existing.get(task.strong_id())
            stats = sinter.AnonTaskStats() if known is None else known.to_anon_stats()
            rows[task.strong_id()] = TaskProgress(task, stats, limits)
        self.tasks = rows

    def live(self) -> AbstractContextManager[object]:
        """A display that refreshes itself; where there is no terminal, `update` prints lines instead."""
        if not self.console.is_terminal:
            return nullcontext()
        return Live(console=self.console, get_renderable=lambda: self, refresh_per_second=4, transient=True)

    def update(self, progress: sinter.Progress) -> None:
        for new in progress.new_stats:
            row = self.tasks[new.strong_id]
            was_done = row.fraction() >= 1
            row.stats = row.stats + new.to_anon_stats()
            if not self.console.is_terminal and not was_done and row.fraction() >= 1:
                self.console.print(
                    f"done: {_describe(row.task)}: {_counts(row)}, {self.time_left()} left", style=None
                )

    def time_left(self) -> str:
        """Estimate for the whole sweep; tasks without a shot yet count like the mean of the others."""
        costs = [
            row.core_seconds_spent() / done for row in self.tasks.values() if (done := row.fraction()) > 0
        ]
        if not costs:
            return "?"
        mean = sum(costs) / len(costs)
        left = [row.core_seconds_left() for row in self.tasks.values()]
        return format_seconds(sum(mean if seconds is None else seconds for seconds in left) / self.workers)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table(box=None, pad_edge=False)
        for heading in ("task", "shots", "errors", "LER so far", "time left"):
            table.add_column(heading, justify="left" if heading == "task" else "right", no_wrap=True)
        room = max(4, (options.height or console.height) - 4)
        shown = self._most_relevant(room)
        open_tasks = sum(row.fraction() < 1 for row in self.tasks.values())
        workers_per_task = max(1.0, self.workers / max(1, open_tasks))
        for row in shown:
            left = row.core_seconds_left()
            cells = (
                "waiting"
                if left is None
                else "done"
                if left == 0
                else format_seconds(left / workers_per_task)
            )
            kept = row.stats.shots - row.stats.discards
            ler = f"{row.stats.errors / kept:.2e}" if kept else "-"
            style = "dim" if left in (None, 0.0) else None
            table.add_row(
                _describe(row.task), f"{row.stats.shots:,}", f"{row.stats.errors:,}", ler, cells, style=style
            )
        yield table
        done = sum(row.fraction() >= 1 for row in self.tasks.values())
        hidden = len(self.tasks) - len(shown)
        more = f", {hidden} more not shown" if hidden else ""
        elapsed = format_seconds(time.monotonic() - self.started)
        yield Text(f"{done} of {len(self.tasks)} tasks done{more}; {elapsed} so far, {self.time_left()} left")

    def _most_relevant(self, room: int) -> list[TaskProgress]:
        """All rows if they fit, else the running ones first, then those waiting, then those done."""
        rows = list(self.tasks.values())
        if len(rows) <= room:
            return rows

        def rank(row: TaskProgress) -> int:
            return 1 if row.stats.shots == 0 else 2 if row.fraction() >= 1 else 0

        keep = {id(row) for row in sorted(rows, key=rank)[:room]}
        return [row for row in rows if id(row) in keep]


def _describe(task: sinter.Task) -> str:
    meta = task.json_metadata
    return f"d={meta['d']:<2} r={meta['rounds']:<2} p={meta['p']:<6g} {meta['basis']}  {task.decoder}"


def _counts(row: TaskProgress) -> str:
    return f"{row.stats.shots:,} shots, {row.stats.errors:,} errors"


def format_seconds(seconds: float) -> str:
    """'45 s', '3 min 20 s', '2 h 05 min'."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 100:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
