"""All checks that need a GPU, each in a process of its own: what one breaks, the others do not feel.

Steps, in order: whether the GPU can be used; the tests marked `gpu`; those of kernels under
compute-sanitizer; the table of latencies; logical errors of every precision against float32; measured times
against the cost model. After each, OUT/check.json says how it ended. A step that fails or runs out of its
time is said, and the next one begins.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from scripts.gpu.kit import Deadline, Report, about, flags

__all__ = ["main"]

GPU_TESTS = (
    "tests/cuda/engine/test_on_gpu.py",
    "tests/cuda/test_kernels_on_a_device.py",
    "tests/predecoder/training/test_on_gpu.py",
)
"""All files with tests marked `gpu`: others may import what the machine lacks, and take long to collect."""
_USABLE = "import sys; from cuda.qecpipe import cuda_status as s; print(s()); sys.exit(not s().usable)"
"""Where a GPU cannot be used tests are skipped, which is no failure of theirs."""
_PYTEST_NOTHING = 5
"""Its exit code where no test was selected or all were deselected."""


@dataclass(frozen=True)
class Step:
    """A command, and the share of the time that is kept for it."""

    name: str
    command: list[str]
    share: float
    needs: str = ""
    """A program without which it is left out."""


def _steps(device: str, out: str, *, small: bool) -> Iterator[Step]:
    python = sys.executable
    # Other versions of packages warn of other things than those that the project is tested with.
    pytest = [python, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", "-W", "default"]
    pytest.append("--continue-on-collection-errors")
    sanitizer = ["compute-sanitizer", "--error-exitcode", "9"]
    common = ["--device", device, "--out", out, *(["--small"] if small else [])]
    if device == "cuda":
        yield Step("usable", [python, "-c", _USABLE], 0.03)
    yield Step("tests", [*pytest, *GPU_TESTS], 0.17)
    kernels = ["-k", "test_kernels_on_a_device or bits_of_the_cpus_kernels", *GPU_TESTS[:2]]
    yield Step("sanitizer", [*sanitizer, *pytest, "-x", *kernels], 0.13, "compute-sanitizer")
    yield Step("latency", [python, "-m", "scripts.gpu.latency", *common], 0.4)
    yield Step("ler", [python, "-m", "scripts.gpu.ler", *common], 0.22)
    yield Step("model", [python, "-m", "scripts.gpu.model", *common], 0.05)


def main() -> int:
    """Run all steps; returns how many failed."""
    parser = flags(__doc__ or "", seconds=420)
    parser.add_argument("--only", nargs="*", default=[], help="names of steps")
    given = parser.parse_args()
    deadline = Deadline(given.seconds)
    report = Report(given.out / "check.json", about=about(given.device), small=given.small)
    failed = 0
    steps = _steps(given.device, str(given.out), small=given.small)
    chosen = [step for step in steps if not given.only or step.name in given.only]
    for number, step in enumerate(chosen):
        kept = given.seconds * sum(later.share for later in chosen[number + 1 :])
        seconds = deadline.left - kept  # what earlier steps have left over, too
        outcome, took = _run(step, seconds)
        failed += outcome not in ("passed", "nothing to do", "not installed here")
        report.add(step=step.name, outcome=outcome, seconds=took)
    return failed


def _run(step: Step, seconds: float) -> tuple[str, float]:
    """How a step ended, and after how many seconds."""
    print(f"\n== {step.name} (at most {seconds:.0f} s)", flush=True)
    if step.needs and not shutil.which(step.needs):
        return "not installed here", 0.0
    if seconds <= 1:
        return "no time left", 0.0
    command = step.command
    if command[1:3] == ["-m", f"scripts.gpu.{step.name}"]:  # ends by itself, in time to say what it has
        command = [*command, "--seconds", f"{0.9 * seconds:.0f}"]
    begun = time.monotonic()
    try:
        process = subprocess.Popen(command, start_new_session=True)
    except OSError as error:
        return f"did not start: {error}", time.monotonic() - begun
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # and all that it has started
        process.wait()
        return "out of time", time.monotonic() - begun
    if code == _PYTEST_NOTHING and "pytest" in command:
        return "nothing to do", time.monotonic() - begun
    return "passed" if code == 0 else f"failed with code {code}", time.monotonic() - begun


if __name__ == "__main__":
    sys.exit(main())
