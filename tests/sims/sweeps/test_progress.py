"""Progress of a sweep: fractions, time left, and what is shown when not everything fits."""

from __future__ import annotations

import io
from collections import Counter

import pytest
import sinter
from rich.console import Console

from global_decoders import make_decoder
from sims.decoders import NamedDecoder
from sims.sweeps.collect import Limits
from sims.sweeps.progress import SweepProgress, format_seconds
from sims.sweeps.tasks import CircuitFamily, sweep_tasks


@pytest.fixture(scope="module")
def tasks() -> list[sinter.Task]:
    family = CircuitFamily(distance=(3,), p=(0.001, 0.002, 0.003), basis=("x", "z"))
    return sweep_tasks(family, [NamedDecoder("pymatching", make_decoder("pymatching"))])


def _new(task: sinter.Task, *, shots: int, errors: int = 0, seconds: float = 0.0) -> sinter.Progress:
    stats = sinter.TaskStats(
        strong_id=task.strong_id(),
        decoder="pymatching",
        json_metadata=task.json_metadata,
        shots=shots,
        errors=errors,
        seconds=seconds,
        custom_counts=Counter(sample_ns=0),
    )
    return sinter.Progress(new_stats=(stats,), status_message="")


def _begin(tasks: list[sinter.Task], limits: Limits, existing: dict[str, sinter.TaskStats]) -> SweepProgress:
    progress = SweepProgress(workers=2, console=Console(file=io.StringIO(), width=120, height=40))
    progress.begin(tasks, existing, limits)
    return progress


def test_fraction_counts_old_shots_and_ends_with_errors(tasks: list[sinter.Task]) -> None:
    (old,) = _new(tasks[0], shots=250).new_stats
    progress = _begin(tasks, Limits(1000, 10), {old.strong_id: old})
    row = progress.tasks[old.strong_id]
    assert row.fraction() == 0.25
    progress.update(_new(tasks[0], shots=100, errors=5))
    assert row.fraction() == 0.5
    progress.update(_new(tasks[0], shots=7, errors=7))
    assert row.fraction() == 1.0
    assert row.core_seconds_left() == 0.0


def test_time_left_extrapolates_the_pace(tasks: list[sinter.Task]) -> None:
    progress = _begin(tasks, Limits(1000), {})
    assert progress.time_left() == "?"
    progress.update(_new(tasks[0], shots=500, seconds=10.0))
    # 10 s are left of this task, and 5 tasks like it at 20 s each, on two workers.
    assert progress.time_left() == "55 s"


def test_running_tasks_are_shown_first_when_not_all_fit(tasks: list[sinter.Task]) -> None:
    progress = _begin(tasks, Limits(1000), {})
    progress.update(_new(tasks[0], shots=1000))
    progress.update(_new(tasks[5], shots=500, errors=5))
    stream = io.StringIO()
    console = Console(file=stream, width=120, height=8)
    console.print(progress, height=8)
    text = stream.getvalue()
    assert "1.00e-02" in text
    assert "1 of 6 tasks done, 2 more not shown" in text
    assert "1,000" not in text


def test_discarded_shots_are_in_no_rate(tasks: list[sinter.Task]) -> None:
    progress = _begin(tasks, Limits(1000), {})
    (new,) = _new(tasks[0], shots=100, errors=10).new_stats
    progress.update(
        sinter.Progress(new_stats=(sinter.TaskStats(**{**vars(new), "discards": 50}),), status_message="")
    )
    stream = io.StringIO()
    Console(file=stream, width=120, height=40).print(progress)
    assert "2.00e-01" in stream.getvalue()


def test_without_a_terminal_each_finished_task_is_one_line(tasks: list[sinter.Task]) -> None:
    progress = _begin(tasks, Limits(1000), {})
    progress.update(_new(tasks[0], shots=999))
    progress.update(_new(tasks[0], shots=1, errors=1))
    assert isinstance(progress.console.file, io.StringIO)
    (line,) = progress.console.file.getvalue().splitlines()
    assert line.startswith("done: d=3")
    assert "1,000 shots, 1 errors" in line


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_seconds_read_well(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
