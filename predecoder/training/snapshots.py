"""Averaged weights as they were some steps ago, with which workers mine shots.

Batch k is mined with the weights of a step that k alone determines, so that a resumed run sees the same
batches. It lies so far back that workers, which are a few batches ahead, need not wait for it.
"""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass
from pathlib import Path

import torch

__all__ = ["Snapshots"]

_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Snapshots:
    """A folder of state dictionaries, one every `every` steps."""

    folder: Path
    every: int

    def source_step(self, step: int) -> int:
        """The step whose weights mine the batch of `step`: between one and two periods before it."""
        return max(0, step // self.every - 1) * self.every

    def save(self, step: int, state: dict[str, torch.Tensor]) -> None:
        """Writes a snapshot if one is due at this step; it appears whole or not at all."""
        if step % self.every:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(step)
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def wait_for(self, step: int) -> dict[str, torch.Tensor]:
        """The weights that mine the batch of `step`, once they are there.

        Raises:
            FileNotFoundError: nobody is going to write them.
        """
        path, trainer = self._path(self.source_step(step)), multiprocessing.parent_process()
        while not path.exists():
            if trainer is None or not trainer.is_alive():
                raise FileNotFoundError(
                    f"step {step} is to be mined with the weights in {path}, which is missing"
                )
            time.sleep(_POLL_SECONDS)
        return torch.load(path, map_location="cpu", weights_only=True)

    def keep(self, *, first: int, last: int) -> None:
        """Deletes what no step from `first` on needs, and what is younger than `last`."""
        for path in self.folder.glob("step-*"):
            step = int(path.stem.removeprefix("step-"))
            if not self.source_step(first) <= step <= last:
                path.unlink()

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}.pt"
