"""What was found so far, a line for every run down a ladder, so that a killed collection goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sinter

from qec import naming, output_file
from sims.rare.splitting import Effort, Repetition
from sims.sweeps.versions import code_versions

__all__ = ["MANIFEST", "RUNS", "RareLog", "RareLogError", "Run"]

RUNS, MANIFEST = "rare.runs.jsonl", "rare.manifest.json"
"""Names of the files in the folder of a collection."""
FINDS_LADDER = -1
"""Index of the run that chose a task's ladder."""


class RareLogError(ValueError):
    """What is in the folder is damaged, or of another collection."""


@dataclass(frozen=True)
class Run:
    """One run down a ladder.

    Attributes:
        key: of the task, its strong id.
        index: of the repetition, or `FINDS_LADDER`.
        tilts: the ladder.
        seconds: it took, on one core.
    """

    key: str
    index: int
    tilts: tuple[float, ...]
    seconds: float
    found: Repetition

    @classmethod
    def parse(cls, line: str) -> Run:
        """Of a line of the log. Raises ValueError, KeyError or TypeError."""
        row = json.loads(line)
        found = row.pop("found")
        tuples = {name: tuple(found[name]) for name in ("log_rates", "accepted")}
        found = Repetition(**found | tuples)
        return cls(**row | {"tilts": tuple(row["tilts"]), "found": found})

    def line(self) -> str:
        """For the log."""
        return json.dumps(asdict(self)) + "\n"


class RareLog:
    """The runs in a folder, and its manifest, which says what they are of.

    Whoever writes holds the folder's lock.

    Attributes:
        path: of the file with the runs.
        runs: by task's strong id and index.
    """

    def __init__(self, folder: Path, tasks: Sequence[sinter.Task], *, seed: int, effort: Effort) -> None:
        """Read what is there, and claim the folder for these tasks besides those that it has.

        Raises:
            RareLogError: the folder is of another seed, effort or code, or its files are damaged.
        """
        self.path = folder / RUNS
        folder.mkdir(parents=True, exist_ok=True)
        self._claim(folder / MANIFEST, tasks, {"seed": seed, **asdict(effort), "code": code_versions()})
        self.runs = self._read()

    def append(self, run: Run) -> None:
        """Write one run, whole or not at all as far as a reader knows."""
        with naming(self.path), self.path.open("a", encoding="utf-8") as lines:
            lines.write(run.line())
        self.runs[run.key, run.index] = run

    def _claim(self, path: Path, tasks: Sequence[sinter.Task], settings: dict[str, Any]) -> None:
        known: dict[str, Any] = {}
        if path.exists():
            try:
                manifest = json.loads(path.read_text(encoding="utf-8"))
                known = manifest.pop("tasks")
            except (ValueError, KeyError, AttributeError) as error:
                raise RareLogError(f"{path} is damaged ({error}); choose another --out") from None
            for name, value in settings.items():
                if manifest.get(name) != value:
                    raise RareLogError(
                        f"{path} was begun with another {name} ({_said(manifest.get(name))}, now "
                        f"{_said(value)}); runs of both must not be mixed: choose another --out"
                    )
        elif self.path.exists():
            raise RareLogError(f"{self.path} has no {path.name} beside it; choose another --out")
        new = {
            task.strong_id(): {
                "decoder": task.decoder,
                "metadata": task.json_metadata,
                "sha256": hashlib.sha256(f"{task.circuit}\n{task.detector_error_model}".encode()).hexdigest(),
            }
            for task in tasks
        }
        with output_file(path) as unfinished:
            unfinished.write_text(
                json.dumps(settings | {"tasks": known | new}, indent=1) + "\n", encoding="utf-8"
            )

    def _read(self) -> dict[tuple[str, int], Run]:
        """The runs; the rest of a line that was being written when it was killed is cut off."""
        if not self.path.exists():
            return {}
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            with naming(self.path), self.path.open("r+b") as lines:
                lines.truncate(len(whole))
        runs = {}
        for number, line in enumerate(whole.decode(errors="replace").splitlines(), start=1):
            try:
                run = Run.parse(line)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise RareLogError(
                    f"{self.path}, line {number}: not a run ({error}); delete that line (sed -i '{number}d' "
                    f"{self.path}) and run again: it is done anew"
                ) from None
            runs[run.key, run.index] = run
        return runs


def _said(value: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
