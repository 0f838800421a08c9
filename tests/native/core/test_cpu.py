"""Instruction sets are those that the processor and its kernel say they have, and that the compiler knows."""

import platform
from pathlib import Path

import pytest

import _qecpipe

CPUINFO = Path("/proc/cpuinfo")
NEEDED = {
    "avx2": {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"},
    "avx512": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512_vnni"},
    "amx": {"avx512vbmi", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16"},
}
"""What Linux calls the features that each has more than the one before."""


def _expected(flags: set[str]) -> list[str]:
    """By the kernel's flags, which leave out what it does not save for a thread."""
    names = ["baseline"]
    for name, needed in NEEDED.items():
        if not needed <= flags:
            break
        names.append(name)
    return names


def test_they_are_what_the_kernel_says() -> None:
    if platform.machine() != "x86_64" or not CPUINFO.exists():
        assert _qecpipe.instruction_sets()[0] == "baseline"
        pytest.skip("the flags of /proc/cpuinfo are those of Linux on x86-64")
    (flags, *_) = (line for line in CPUINFO.read_text().splitlines() if line.startswith("flags"))
    expected = _expected(set(flags.split()))
    got = _qecpipe.instruction_sets()
    # A container may forbid the system call that asks for tiles.
    assert got in (expected, [name for name in expected if name != "amx"])


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (set(), ["baseline"]),
        (NEEDED["avx2"], ["baseline", "avx2"]),
        (NEEDED["avx2"] - {"fma"} | NEEDED["avx512"], ["baseline"]),
        (NEEDED["avx2"] | NEEDED["avx512"], ["baseline", "avx2", "avx512"]),
        (NEEDED["avx2"] | NEEDED["avx512"] - {"avx512_vnni"}, ["baseline", "avx2"]),
        (set().union(*NEEDED.values()), ["baseline", "avx2", "avx512", "amx"]),
    ],
)
def test_one_that_lacks_a_feature_and_all_behind_it_are_left_out(flags: set[str], names: list[str]) -> None:
    """Of the expectation above, which is no better than itself."""
    assert _expected(flags) == names
