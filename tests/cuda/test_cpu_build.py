"""Building kernels for the CPU: what happens when that does not work."""

import shutil
from pathlib import Path

import pytest

from cuda.qecpipe import KernelBuildError, cpu_build


def test_missing_compiler_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(cpu_build.CompilerMissingError, match=r"g\+\+ or clang\+\+.*apt install g\+\+"):
        cpu_build.build_library("blocked_input.cu", tmp_path)


def test_compiler_output_is_in_the_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    try:
        cpu_build.find_compiler()
    except cpu_build.CompilerMissingError as error:
        pytest.skip(str(error))
    broken = tmp_path / "broken.cu"
    broken.write_text('extern "C" __global__ void k(int *x) { *x = nope; }')
    monkeypatch.setattr(cpu_build, "kernel_source", lambda name: broken)
    with pytest.raises(KernelBuildError, match=r"could not compile broken\.cu for the CPU:\n[^$]*error"):
        cpu_build.build_library("broken.cu", tmp_path)
    assert not (tmp_path / "broken.so").exists()


def test_unknown_kernel_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no kernel source named 'nothing\.cu'"):
        cpu_build.build_library("nothing.cu", tmp_path)
