"""`qecpipe merge`: put the shards of a sweep together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from sims.cli.console import make_console
from sims.cli.files import check_inputs, check_output_folder
from sims.cli.parse_flags import parse_flags
from sims.cli.sweep import RESULTS
from sims.plots.sweep import LER_VS_DISTANCE, LER_VS_P, draw_sweep
from sims.sweeps.manifest import Manifest, check_shards, merged_manifest
from sims.sweeps.results_csv import merge_results, read_results, write_results
from sims.sweeps.summary import summarize, summary_table

RESUME_HINT = "run the same command again"


@dataclass(frozen=True)
class MergeFlags:
    """Put the shards of one sweep together, after a look at their manifests.

    Shards of different seeds, circuits, weights or versions of the code are refused, and so is one that is
    there twice, missing or not finished. What is written is what `sinter combine` makes of the CSVs.
    """

    csv: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """CSV files of all shards, each with its manifest beside it."""
    out: Path
    """Folder for results.csv and the plots."""


def run(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    flags = parse_flags(MergeFlags, "merge", arguments)
    if not flags.csv:
        raise ValueError("no CSV was given; give those of all shards")
    check_inputs(*flags.csv)
    check_output_folder(flags.out, (RESULTS, LER_VS_P, LER_VS_DISTANCE), inputs=flags.csv)
    csv_path = flags.out / RESULTS
    if csv_path.exists() or Manifest.path(csv_path).exists():
        raise ValueError(f"{csv_path}, or its manifest, exists and would be replaced; choose another --out")
    manifest = merged_manifest(check_shards(flags.csv))
    stats = merge_results(read_results(path) for path in flags.csv)
    flags.out.mkdir(parents=True, exist_ok=True)
    if manifest is not None:
        manifest.claim(csv_path)
    write_results(stats, csv_path)
    console = make_console()
    console.print(summary_table(summarize(stats)))
    figures = draw_sweep(stats, flags.out)
    console.print(f"results: {csv_path}\nplots:   {', '.join(map(str, figures))}")
    return 0
