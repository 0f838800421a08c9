"""`qecpipe plot`: draw the plots of a sweep again from its CSV files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from sims.cli.console import make_console
from sims.cli.files import check_inputs, check_output_folder
from sims.cli.parse_flags import parse_flags
from sims.plots.kept import LER_VS_KEPT, draw_kept
from sims.plots.ler_vs_time import LER_VS_TIME, draw_ler_vs_time
from sims.plots.sweep import LER_VS_DISTANCE, LER_VS_P, draw_sweep
from sims.sweeps.manifest import refuse_twice
from sims.sweeps.results_csv import merge_results, read_results
from sims.sweeps.summary import summarize, summary_table

RESUME_HINT = "run the same command again"


@dataclass(frozen=True)
class PlotConfig:
    """Draw the plots of sweeps again from their CSV files, rows of one task added.

    Writes ler_vs_p.png and ler_vs_distance.png; of several decoders ler_vs_time.png too, and of rows that a
    sweep with --keep wrote ler_vs_kept.png.
    """

    csv: Annotated[tuple[Path, ...], tyro.conf.Positional] = (Path("out/sweep/results.csv"),)
    """CSV files of `qecpipe sweep`."""
    out: Path | None = None
    """Folder for the plots; left out: beside the first CSV."""
    decoder: tuple[str, ...] = ()
    """Decoders to draw; left out: all."""
    table: bool = True
    """Print the table of error rates too."""


def run(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    config = parse_flags(PlotConfig, "plot", arguments)
    check_inputs(*config.csv)
    refuse_twice(config.csv)
    if not config.csv:
        raise ValueError("no results file was given; give at least one CSV of qecpipe sweep")
    out = config.csv[0].parent if config.out is None else config.out
    check_output_folder(out, (LER_VS_P, LER_VS_DISTANCE, LER_VS_TIME, LER_VS_KEPT), inputs=config.csv)
    stats = merge_results(read_results(path) for path in config.csv)
    if config.decoder:
        known = sorted({one.decoder for one in stats})
        absent = [name for name in config.decoder if name not in known]
        if absent:
            raise ValueError(
                f"no rows of decoder {absent[0]!r}; the files have {', '.join(known) or 'no rows'}"
            )
        stats = [one for one in stats if one.decoder in config.decoder]
    figures = draw_sweep(stats, out)
    figures += filter(None, [draw_ler_vs_time(stats, out), draw_kept(stats, out)])
    console = make_console()
    if config.table:
        console.print(summary_table(summarize(stats)))
    console.print(f"plots: {', '.join(map(str, figures))}")
    return 0
