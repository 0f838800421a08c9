"""Runs down a ladder, as workers do them: each of a seed of its own, the same wherever it is done."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import numpy as np
import sinter
import stim

from sims.rare.failures import Failures
from sims.rare.log import FINDS_LADDER, Run
from sims.rare.splitting import Effort, Ladder, Report, find_ladder, repeat
from sims.sweeps.blocks import block_seed
from sims.sweeps.versions import require_versions

__all__ = ["RareTask", "do_run"]

_here = threading.local()


@dataclass(frozen=True, eq=False)
class RareTask:
    """What a worker needs for the runs of one task; can be pickled.

    Attributes:
        key: of the task, its strong id.
        code: versions that every worker must have, see `code_versions`.
    """

    key: str
    dem: stim.DetectorErrorModel
    decoder: sinter.Decoder
    seed: int
    effort: Effort
    code: dict[str, str] | None = None


def do_run(of: RareTask, index: int, ladder: Ladder | None, report: Report = lambda text: None) -> Run:
    """Repetition `index`, or without a ladder the run that finds it.

    Raises:
        ValueError: nothing fails, or the code that is here is not that of the collection.
    """
    require_versions(of.code)
    failures = _failures(of)
    rng = np.random.default_rng(block_seed(of.seed, of.key, index))
    began = time.process_time()
    if ladder is None:
        assert index == FINDS_LADDER
        ladder, found = find_ladder(failures, of.effort, rng=rng, report=report)
    else:
        found = repeat(failures, of.effort, ladder, rng=rng, report=report)
    return Run(of.key, index, ladder.tilts, time.process_time() - began, found)


def _failures(of: RareTask) -> Failures:
    """This thread's, of the task that it did last."""
    kept: tuple[str, Failures] | None = getattr(_here, "kept", None)
    if kept is None or kept[0] != of.key:
        _here.kept = None
        kept = of.key, Failures(of.dem, of.decoder.compile_decoder_for_dem(dem=of.dem))
        _here.kept = kept
    return kept[1]
