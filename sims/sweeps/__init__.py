"""Logical error rates over distances and physical error rates: sinter collects, its CSV is the result.

In the order in which a sweep goes through them: `tasks` (circuits), `measured_sampler` (one worker's shots),
`collect` (all workers, and the CSV), `progress` (what is shown meanwhile), `results_csv` (reading it back),
`kept` (post-selection), `labels` and `summary` (the table).

With a seed: `blocks` (shots that any machine can take), `executors` (who decodes them), `seeded` (counting
them in their order), `manifest` and `versions` (what may be put together).
"""

from sims.sweeps.collect import Limits, collect_sweep, usable_cores
from sims.sweeps.kept import GapCounts, kept_stats
from sims.sweeps.results_csv import ResultsFileError, merge_results, read_results, write_results
from sims.sweeps.summary import SummaryRow, summarize, summary_table
from sims.sweeps.tasks import CircuitFamily, decoder_dem, sweep_tasks
from sims.sweeps.workers import WorkerDiedError

__all__ = [
    "CircuitFamily",
    "GapCounts",
    "Limits",
    "ResultsFileError",
    "SummaryRow",
    "WorkerDiedError",
    "collect_sweep",
    "decoder_dem",
    "kept_stats",
    "merge_results",
    "read_results",
    "summarize",
    "summary_table",
    "sweep_tasks",
    "usable_cores",
    "write_results",
]
