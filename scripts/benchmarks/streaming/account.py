"""Where a round's time goes: samples of the processor, by what the code at hand does.

    python -m scripts.benchmarks.streaming.table --part account

Needs `perf` (Debian: linux-perf) and the right to use it; nothing is built into the code that it looks at.
A stream decodes as fast as it can, first in this process, then in a worker of `qecpipe serve`, while the
process that decodes is sampled. A sample stands for a period of the sampling clock; a function that the
compiler put into its caller counts as the caller.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from scripts.benchmarks.results import markdown_table
from scripts.benchmarks.streaming import targets

HERTZ = 4000
MOST_SECONDS = 8.0
_WARM_ROUNDS = 20_000
_CLOSED_US = 1e-3
_SURE_TICKS, _MOST_TRIES = 20, 100
"""Of the scheduler, 10 ms each: a process that took so many is the one that decodes."""
STAGES: list[tuple[str, str]] = [
    ("system calls: socket", r"unix_stream|sock_|skb|____sys|__sys_(send|recv)|tcp_|consume_skb|_poll|ppoll"),
    (
        "system calls: journal",
        r"vfs_write|ext4|generic_perform_write|fault_in_|overlay|ovl_|xfs|jbd2|ksys_write|iomap|folio",
    ),
    ("system calls: other", r"^\[k\]"),
    ("network", r"network::|LayerStream|SiteNetwork"),
    ("matching", r"^matching::|::matching::|Matcher|Blossom|Region|TreeSearch"),
    ("residual: pre-decoder stage", r"streams::Stage|OpenClusters|streams::MoveTables"),
    ("windows: layers, assembling", r"streams::"),
    ("ordering", r"Ordering"),
    ("frames, checks", r"crc32|Parser|append_frame|write_header|OutputLog|append_number"),
    ("journal: records", r"Journal|::record"),
    ("session", r"service::"),
    ("Python", r"^\[py\]|bindings::|nanobind|nb_"),
    ("memory", r"malloc|free|memcpy|memmove|memset|operator (new|delete)|memcmp"),
]
"""What a symbol belongs to: the first pattern that is found in it, after what it is of."""
OTHER = "other"
_PYTHON = "Python"


def stage_of(symbol: str, binary: str) -> str:
    """The stage of a sample.

    Args:
        symbol: demangled, as `perf` says it.
        binary: the file that it is in; `[kernel.kallsyms]` and its kind for the kernel's.
    """
    if binary.startswith("[") and "vdso" not in binary:
        name = f"[k] {symbol}"
    elif re.search(r"python|_multiarray|\.cpython", binary) and "_qecpipe" not in binary:
        name = f"[py] {symbol}"
    else:
        name = symbol
    kernel = name.startswith("[k]")
    for stage, pattern in STAGES:
        if stage.startswith("system calls") == kernel and re.search(pattern, name):
            return stage
    return OTHER


def count_stages(samples: str) -> Counter[str]:
    """How many samples belong to each stage.

    Args:
        samples: of `perf script -F ip,sym,dso`: address, symbol, and the file in parentheses, a line each.
    """
    counts: Counter[str] = Counter()
    for line in samples.splitlines():
        found = re.match(r"\s*[0-9a-f]+\s+(.*)\s+\((.*)\)\s*$", line)
        if found:
            counts[stage_of(found[1], found[2])] += 1
    return counts


@contextlib.contextmanager
def sampled_process(pid: int, found: Counter[str]) -> Iterator[None]:
    """Samples a process; afterwards `found` has the counts. Raises RuntimeError where `perf` cannot."""
    with tempfile.TemporaryDirectory(prefix="qecpipe-") as folder:
        data = str(Path(folder) / "perf.data")
        command = ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(HERTZ), "-p", str(pid), "-o", data]
        try:
            recorder = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        except FileNotFoundError as error:
            raise RuntimeError("perf is not installed; on Debian: apt-get install linux-perf") from error
        time.sleep(0.5)
        try:
            yield
        finally:
            recorder.send_signal(signal.SIGINT)
            _, said = recorder.communicate()
        script = ["perf", "script", "-i", data, "-F", "ip,sym,dso"]
        printed = subprocess.run(script, capture_output=True, text=True, check=False)
        found.update(count_stages(printed.stdout))
        if not found:
            raise RuntimeError(f"perf found nothing: {said}{printed.stderr}")


def account(setup: targets.Setup, *, p: float, rounds: int) -> Iterator[dict[str, Any]]:
    """Rows: in process, and in the worker of a service."""
    circuit, shots = targets.sampled(setup, shot_rows=1000, p=p, rows=20_000)
    yield _row(setup, "in process", targets.in_process(setup, circuit, shots), os.getpid(), rounds)
    with targets.service() as address, targets.served(setup, circuit, shots, address=address) as served:
        worker = _busiest(lambda: _run(served, setup, _WARM_ROUNDS))
        yield _row(setup, "service", served, worker, rounds)


def _row(
    setup: targets.Setup, where: targets.Where, target: targets.Target, pid: int, rounds: int
) -> dict[str, Any]:
    expected = _run(target, setup, _WARM_ROUNDS)
    rounds = max(1, min(rounds, int(1e6 * MOST_SECONDS / expected)))
    found: Counter[str] = Counter()
    with sampled_process(pid, found):
        round_us = _run(target, setup, rounds)
    stages_us = {stage: 1e6 * count / HERTZ / rounds for stage, count in found.items()}
    if (
        where == "in process"
    ):  # Python prepares the load and checks the answers besides: what is left of a round
        stages_us[_PYTHON] = max(0.0, round_us - (sum(stages_us.values()) - stages_us.get(_PYTHON, 0.0)))
    return {
        "name": setup.name,
        "where": where,
        "round_us": round(sum(stages_us.values()), 3),
        "stages_us": {stage: round(value, 4) for stage, value in stages_us.items()},
    }


def _run(target: targets.Target, setup: targets.Setup, rounds: int) -> float:
    """µs a round, as fast as it can."""
    report = target.run(period_us=_CLOSED_US, rounds=rounds, rounds_per_block=setup.distance)
    return 1e6 * report.seconds / report.plan.rows


def _busiest(run: Callable[[], object]) -> int:
    """Of the processes that this one has started, the one that uses the processor most: the worker.

    Raises RuntimeError where none does anything.
    """
    before = {pid: _used(pid) for pid in _descendants(os.getpid())}
    for _ in range(_MOST_TRIES):
        run()
        used = {pid: _used(pid) - ticks for pid, ticks in before.items()}
        found = max(used, key=lambda pid: used[pid])
        if used[found] >= _SURE_TICKS:
            return found
    raise RuntimeError(f"no process of the service is busy: {used} ticks")


def _descendants(pid: int) -> list[int]:
    listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    children = [int(child) for child in listed.stdout.split()]
    return [*children, *(further for child in children for further in _descendants(child))]


def _used(pid: int) -> int:
    """Ticks of the processor so far; 0 for a process that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


def render(rows: Sequence[dict[str, Any]]) -> str:
    """A row for every row of the account."""
    stages = [*(stage for stage, _ in STAGES), OTHER]
    columns = ("a round's time, µs", "where", "together", *stages)
    return markdown_table(
        columns,
        (
            [
                row["name"],
                row["where"],
                f"**{row['round_us']:.2f}**",
                *(f"{row['stages_us'].get(stage, 0):.2f}" for stage in stages),
            ]
            for row in rows
        ),
    )
