"""The extension runs on old machines: only what is chosen at run time uses newer instructions."""

import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

import _qecpipe

NATIVE = Path(__file__).resolve().parents[3] / "native"
REGISTERS = {"avx2": ("ymm",), "avx512": ("ymm", "zmm", "k"), "amx": ("ymm", "zmm", "k", "tmm")}
"""That functions of a variant may name besides those of the baseline."""
_FUNCTION = re.compile(r"^[0-9a-f]+ <(.*)>:$")
_REGISTER = re.compile(r"%(ymm|zmm|tmm|k)[0-9]+")


def test_nothing_is_compiled_for_the_machine_that_builds() -> None:
    files = [file for file in NATIVE.rglob("*") if file.suffix in (".txt", ".cmake", ".cpp", ".h", ".py")]
    assert files
    assert not [file for file in files if "march=native" in file.read_text()]


@pytest.mark.skipif(shutil.which("objdump") is None, reason="objdump (binutils) is not installed")
def test_wide_registers_are_used_in_the_variants_alone() -> None:
    """Not even in what a variant shares with others, such as a template of the standard library."""
    if "x86-64" not in _objdump("-f"):
        pytest.skip("registers of x86-64 are what is looked for")
    if "no symbols" in _objdump("-t"):
        pytest.skip("the extension is stripped of its symbols")
    used = _registers_of_functions()
    wrong = {name: kinds for name, kinds in used.items() if not kinds <= _allowed(name)}
    assert not wrong
    for variant in set(_qecpipe.instruction_sets()) & {"avx2", "avx512"}:
        assert any(f"::{variant}::" in name for name in used), f"nothing of {variant} uses its registers"


def _allowed(function: str) -> set[str]:
    return {kind for variant, kinds in REGISTERS.items() if f"::{variant}::" in function for kind in kinds}


def _objdump(*options: str) -> str:
    command = ["objdump", *options, str(_qecpipe.__file__)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _registers_of_functions() -> dict[str, set[str]]:
    """Kinds of wide registers by the function that uses them; functions without are left out."""
    used: dict[str, set[str]] = defaultdict(set)
    name = ""
    for line in _objdump("-d", "-C", "--no-show-raw-insn", "-j", ".text").splitlines():
        if (match := _FUNCTION.match(line)) is not None:
            name = match[1]
        elif kinds := _REGISTER.findall(line):
            used[name].update(kinds)
    return used
