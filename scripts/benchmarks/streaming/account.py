"""Where a round's time goes: samples of the processor, by what the code at hand does.

    python -m scripts.benchmarks.streaming.table --part account

Needs `perf` (Debian: linux-perf) and the right to use it; nothing is built into the code that it looks at.
A stream decodes as fast as it can, first in this process, then in a worker of `qecpipe serve`, while the
process that decodes is sampled. A stage's share of the samples, times what a round takes, is its time; a
function that the compiler put into its caller counts as the caller.
"""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scripts.benchmarks.results import markdown_table
from scripts.benchmarks.streaming import targets

HERTZ = 4000
ROUNDS = 400_000
MOST_SECONDS = 8.0
_CLOSED_US = 1e-3
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


def shares(samples: str) -> dict[str, float]:
    """Shares of the stages.

    Args:
        samples: of `perf script -F ip,sym,dso`: address, symbol, and the file in parentheses, a line each.
    """
    counts: Counter[str] = Counter()
    for line in samples.splitlines():
        found = re.match(r"\s*[0-9a-f]+\s+(.*)\s+\((.*)\)\s*$", line)
        if found:
            counts[stage_of(found[1], found[2])] += 1
    total = sum(counts.values())
    return {stage: count / total for stage, count in counts.most_common()} if total else {}


@contextlib.contextmanager
def sampled_process(pid: int, found: dict[str, float]) -> Iterator[None]:
    """Samples a process; afterwards `found` has the shares. Raises RuntimeError where `perf` cannot."""
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
        found.update(shares(printed.stdout))
        if not found:
            raise RuntimeError(f"perf found nothing: {said}{printed.stderr}")


def account(setup: targets.Setup, *, p: float = 0.003, rounds: int = ROUNDS) -> Iterator[dict[str, Any]]:
    """Rows: in process, and in the worker of a service."""
    circuit, shots = targets.sampled(setup, shot_rows=1000, p=p, rows=20_000)
    yield _row(setup, "in process", targets.in_process(setup, circuit, shots), _own_pid(), rounds)
    with targets.service() as address, targets.served(setup, circuit, shots, address=address) as served:
        yield _row(setup, "service", served, _worker_pid(address), rounds)


def _row(
    setup: targets.Setup, where: targets.Where, target: targets.Target, pid: int, rounds: int
) -> dict[str, Any]:
    def run(count: int) -> float:
        report = target.run(period_us=_CLOSED_US, rounds=count, rounds_per_block=setup.distance)
        return 1e6 * report.seconds / report.plan.rows

    expected = run(10_000)
    found: dict[str, float] = {}
    with sampled_process(pid, found):
        per_round_us = run(max(1, min(rounds, int(1e6 * MOST_SECONDS / expected))))
    return {
        "name": setup.name,
        "where": where,
        "round_us": round(per_round_us, 3),
        "stages_us": {stage: round(share * per_round_us, 4) for stage, share in found.items()},
    }


def _own_pid() -> int:
    return int(Path("/proc/self").resolve().name)


def _worker_pid(address: Path) -> int:
    """The process that decodes: of the server's, the one with most threads."""
    listed = subprocess.run(["pgrep", "-f", str(address)], capture_output=True, text=True, check=True)
    own = {_own_pid()}
    return max((int(pid) for pid in listed.stdout.split() if int(pid) not in own), key=_threads)


def _threads(pid: int) -> int:
    """How many it has: only a worker that serves a session has several. 0 where it is gone."""
    try:
        return len(list(Path(f"/proc/{pid}/task").iterdir()))
    except OSError:
        return 0


def render(rows: Sequence[dict[str, Any]]) -> str:
    """A column for every row of the account."""
    stages = [*dict.fromkeys([*(stage for stage, _ in STAGES), OTHER])]
    shown = [stage for stage in stages if any(row["stages_us"].get(stage, 0) >= 0.005 for row in rows)]
    columns = ("a round's time, µs", *(f"{row['name']}, {row['where']}" for row in rows))
    body = [[stage, *(f"{row['stages_us'].get(stage, 0):.2f}" for row in rows)] for stage in shown]
    return markdown_table(columns, [*body, ["together", *(f"**{row['round_us']:.2f}**" for row in rows)]])
