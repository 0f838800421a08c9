"""A schedule whose length is a time: its steps follow from how fast the first of them are."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from predecoder.training.config import StageConfig
from predecoder.training.processes import Processes
from predecoder.training.run import TrainingRun

__all__ = ["Minutes"]

_UNTIL = 0.25
"""Part of the time after which the number of steps is fixed. The rate must not have begun to fall by then."""
_SETTLED = 0.1
"""Part of the time whose steps are not counted: workers start, and algorithms are chosen."""
_MOST_STEPS = 1_000_000


@dataclass
class Minutes:
    """The time that a stage has, and what was seen of its speed so far."""

    seconds: float
    most_steps: int = _MOST_STEPS
    _before: float = 0.0
    _begun: float = field(default_factory=lambda: time.monotonic())
    _settled: tuple[float, int] | None = None
    _fixed: bool = False

    @classmethod
    def given(cls, minutes: float, stage: StageConfig, processes: Processes) -> Minutes:
        """Those of a stage, from now on.

        Raises:
            ValueError: not positive, for several processes, or the rate falls too early to wait for a speed.
        """
        if not minutes > 0:
            raise ValueError(f"minutes={minutes!r} is not positive")
        if processes.world_size > 1:
            raise ValueError(
                f"minutes={minutes:g} would give each of {processes.world_size} processes steps of its own; "
                "set optimizer.steps"
            )
        if stage.optimizer.decay_fraction > 1 - _UNTIL:
            raise ValueError(
                f"optimizer decay_fraction={stage.optimizer.decay_fraction:g} of stage {stage.name!r}: with "
                f"minutes, at most {1 - _UNTIL:g}; the number of steps is not known before"
            )
        return cls(60 * minutes)

    def resume(self, run: TrainingRun) -> None:
        """Go on where a run is, whose number of steps is fixed if its first quarter is over."""
        self._before = run.seconds
        self._fixed = run.fixed_steps is not None
        run.set_steps(run.fixed_steps or self.most_steps)

    def after(self, run: TrainingRun) -> None:
        """Look at the clock after a step, and fix the number of steps when it is time to."""
        if self._fixed:
            return
        passed = self._before + time.monotonic() - self._begun
        if self._settled is None and passed >= _SETTLED * self.seconds:
            self._settled = passed, run.step
        if self._settled is None or passed < _UNTIL * self.seconds:
            return
        at, step = self._settled
        if run.step == step:  # one step took all that time
            at, step = 0.0, 0
        left = max(0.0, self.seconds - passed) * (run.step - step) / (passed - at)
        self._fixed = True
        run.fixed_steps = min(self.most_steps, run.step + max(1, round(left)))
        run.set_steps(run.fixed_steps)
