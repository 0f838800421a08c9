"""What the scripts for a GPU share: flags, circuits, the clock, and JSON that is there whatever happens."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import stim

from qec import depolarizing, memory_circuit, output_file

__all__ = ["Deadline", "Report", "about", "flags", "memory"]


def flags(description: str, *, seconds: float) -> argparse.ArgumentParser:
    """The flags that every script has; --small is a rehearsal of all steps in a minute of one core."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="a rehearsal: few cells, few shots")
    parser.add_argument("--out", type=Path, default=Path("out/gpu"), help="folder for JSON")
    parser.add_argument("--seconds", type=float, default=seconds, help="after which nothing new is begun")
    return parser


@dataclass
class Deadline:
    """Seconds from now on."""

    seconds: float
    begun: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """How many there still are."""
        return self.seconds - (time.monotonic() - self.begun)


class Report:
    """Rows in a JSON file, written anew with every row: a run that is cut off leaves what it had."""

    def __init__(self, path: Path, **about_it: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._about = path, about_it
        self.rows: list[dict[str, Any]] = []
        self._write()

    def add(self, **row: Any) -> None:
        """Print a row, and write it."""
        self.rows.append(row)
        self._write()
        print("  ".join(f"{name}={_short(value)}" for name, value in row.items()), flush=True)

    def _write(self) -> None:
        with output_file(self._path) as unfinished:
            unfinished.write_text(json.dumps(self._about | {"rows": self.rows}, indent=1) + "\n")


def about(device: str) -> dict[str, Any]:
    """The machine: card, driver's view of it, processor, cores, versions."""
    import torch

    found: dict[str, Any] = {
        "device": device,
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "card": properties.name,
            "multiprocessors": properties.multi_processor_count,
            "memory_bytes": properties.total_memory,
            "cuda": torch.version.cuda,
        }
    return found


def memory(
    distance: int, p: float, *, perfect_last_round: bool = False
) -> tuple[stim.Circuit, stim.DetectorErrorModel]:
    """An X memory experiment of d rounds under uniform depolarizing noise, and its DEM."""
    circuit = memory_circuit(
        distance=distance,
        rounds=distance,
        basis="x",
        noise=depolarizing(p),
        perfect_last_round=perfect_last_round,
    )
    return circuit, circuit.detector_error_model(decompose_errors=True, approximate_disjoint_errors=True)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
