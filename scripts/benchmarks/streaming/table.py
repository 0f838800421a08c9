"""Streams against the clock: sustained periods and latencies, in process and through a service.

    python -m scripts.benchmarks.streaming.table                      # everything, 10^6 rounds a period
    python -m scripts.benchmarks.streaming.table --part service ler   # some parts of it
    python -m scripts.benchmarks.streaming.table --row 1 4            # some rows
    python -m scripts.benchmarks.streaming.table --quick              # everything, in less than ten minutes
    python -m scripts.benchmarks.streaming.table --small              # seconds: whether it runs

A row is written as soon as it is measured, and one that is there already, of this commit, this processor and
this size, is not measured again: who was interrupted starts the same command again (`--again` measures all).

Sliding windows that commit and look ahead d rounds, p = 0.003, blocks of d rounds, shots of 1,000 rows. A
period counts as sustained if at the end of the run outputs were no later than a stall makes them (1 ms, or a
hundredth of the run); the search goes up in steps of 10 % from what a round takes when it need not wait.
Every output is compared with the same shots decoded one round at a time; one that is lost, doubled or wrong
ends the run. The service is `qecpipe serve` in a process of its own, over a Unix socket. Where there are two
cores and the right to it (root), load and decoder have a core each and real-time priority.

Puts the rows it measured into docs/results/streaming.json and the tables of streaming.md. Give the machine
nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scripts.benchmarks.streaming import targets
from scripts.benchmarks.streaming.account import account
from scripts.benchmarks.streaming.gap import measure_gap, with_gaps
from scripts.benchmarks.streaming.ler import measure_ler
from scripts.benchmarks.streaming.periods import Effort, measure_periods
from scripts.benchmarks.streaming.rows import Done, measured_before, write_results
from scripts.benchmarks.streaming.served_rows import measure_overhead, measure_streams

PARTS = ("in-process", "service", "overhead", "streams", "ler", "gap", "account")


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured.

    Attributes:
        effort: for every period.
        sampled_rows: different rows, sent over and over.
        shot_rows: of a shot.
        overhead_rounds: at one round a frame.
        gap_shots: of what a gap costs.
        account_rounds: of which the processor is sampled.
        streams_share: of the rounds of a period, for each of the streams at once, in every turn.
        ler_rounds, ler_p, ler_errors: shots of the comparison with whole ones, and errors of these; by the
            distance, 13 being that of all larger ones.
    """

    effort: Effort
    sampled_rows: int
    shot_rows: int
    overhead_rounds: int
    gap_shots: int = 100
    account_rounds: int = 400_000
    streams_share: float = 0.1
    ler_rounds: int = 100
    ler_p: tuple[float, float] = (0.003, 0.006)
    ler_errors: tuple[int, int] = (2000, 600)


FULL = Size(
    effort=Effort(rounds=10**6, search_seconds=1.0, most_seconds=60.0),
    sampled_rows=50_000,
    shot_rows=1000,
    overhead_rounds=50_000,
)
QUICK = replace(
    FULL,
    effort=Effort(rounds=2 * 10**5, search_seconds=0.5, most_seconds=3.0),
    sampled_rows=20_000,
    overhead_rounds=10_000,
    account_rounds=100_000,
    ler_errors=(1000, 500),
)
SMALL = Size(
    effort=Effort(rounds=400, search_seconds=0.2, most_seconds=0.2, stall_ms=1e4),
    sampled_rows=100,
    shot_rows=20,
    overhead_rounds=40,
    gap_shots=3,
    account_rounds=20_000,
    ler_rounds=5,
    ler_p=(0.01, 0.01),
    ler_errors=(5, 1),
)
SIZES = {"full": FULL, "quick": QUICK, "small": SMALL}
OVERHEAD_PERIOD_US = 50.0
"""Calm: a round is dealt with long before the next."""
_LARGE = 13


def measure(
    chosen: Sequence[targets.Setup],
    parts: Sequence[str],
    size: Size,
    *,
    p: float = 0.003,
    done: Done = lambda table, key: False,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(table, row) as they are measured; those that are `done` are left out."""
    for setup in chosen:
        keys = {
            "in-process": ("periods", (setup.name, "in process")),
            "service": ("periods", (setup.name, "service")),
        }
        if setup is chosen[0]:
            keys |= {"overhead": ("overhead", (setup.name,)), "streams": ("streams", (setup.name,))}
        needed = [part for part, key in keys.items() if part in parts and not done(*key)]
        if needed:
            yield from _measure_loads(setup, needed, size, p=p)
    for setup in chosen if "ler" in parts else ():
        large = setup.distance >= _LARGE
        ler_p = size.ler_p[large]
        if not done("ler", (setup.name, ler_p)):
            errors = size.ler_errors[large]
            yield "ler", measure_ler(setup, rounds=size.ler_rounds, p=ler_p, errors=errors)
    for setup in with_gaps(chosen) if "gap" in parts else ():
        if not done("gap", (setup.name,)):
            yield "gap", measure_gap(setup, shot_rows=size.shot_rows, shots=size.gap_shots, p=p)
    for setup in chosen if "account" in parts else ():
        if not all(done("account", (setup.name, where)) for where in ("in process", "service")):
            yield from (("account", row) for row in account(setup, p=p, rounds=size.account_rounds))


def _measure_loads(
    setup: targets.Setup, parts: Sequence[str], size: Size, *, p: float
) -> Iterator[tuple[str, dict[str, Any]]]:
    circuit, shots = targets.sampled(setup, shot_rows=size.shot_rows, p=p, rows=size.sampled_rows)
    if "in-process" in parts:
        target = targets.in_process(setup, circuit, shots)
        yield "periods", measure_periods(setup, "in process", target, size.effort)
    if "overhead" in parts:
        common = {"period_us": OVERHEAD_PERIOD_US, "rounds": size.overhead_rounds}
        yield "overhead", measure_overhead(setup, circuit, shots, **common)
    if not {"service", "streams"}.intersection(parts):
        return
    with targets.service() as address:
        if "service" in parts:
            with targets.served(setup, circuit, shots, address=address) as served:
                yield "periods", measure_periods(setup, "service", served, size.effort)
        if "streams" in parts:
            rounds = max(1, int(size.streams_share * size.effort.report_rounds(8 * setup.must_us)))
            options = {"address": address, "period_us": setup.must_us, "rounds": rounds}
            yield "streams", measure_streams(setup, circuit, shots, **options)


def main() -> None:
    """Measure what the flags say and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true")
    size.add_argument("--small", action="store_true")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--row", nargs="+", type=int, help="numbers of rows of the table, from 1")
    parser.add_argument("--weights", default="realtime", help="of neural-matching")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--again", action="store_true", help="measure rows that are there already too")
    flags = parser.parse_args()
    rows = targets.setups(flags.weights)
    chosen = [rows[number - 1] for number in flags.row or range(1, len(rows) + 1)]
    size = "small" if flags.small else "quick" if flags.quick else "full"
    done: Done = (lambda table, key: False) if flags.again else measured_before(flags.out, size)
    begin = time.monotonic()
    for table, row in measure(chosen, flags.part, SIZES[size], done=done):
        print(json.dumps({"table": table} | row, ensure_ascii=False), flush=True)
        write_results([(table, row)], flags.out, size=size)
        print(f"{(time.monotonic() - begin) / 60:.1f} minutes so far", flush=True)
    print(f"written: {flags.out / 'streaming.json'}, {flags.out / 'streaming.md'}")


if __name__ == "__main__":
    main()
