"""What verbs show while they go through a file of shots."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


@contextmanager
def shots_progress(console: Console, done: str) -> Iterator[Callable[[int], None]]:
    """A progress line, on a terminal, of how many shots are `done`: what it yields takes their number."""
    columns = (SpinnerColumn(), TextColumn(f"{{task.completed:,.0f}} shots {done}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(done, total=None)
        yield lambda shots: progress.update(task, completed=shots)
