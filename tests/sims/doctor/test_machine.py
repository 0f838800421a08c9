"""Instruction sets from what /proc/cpuinfo says, and modules from where an import finds them."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from cuda.qecpipe import DeviceStatus
from sims.doctor.machine import gpu, instruction_sets
from sims.doctor.packages import modules


@pytest.mark.parametrize(
    ("flags", "machine", "present", "absent"),
    [
        (
            "fma avx2 avx512f avx512bw avx512vl avx512_vnni avx512_bf16 amx_bf16 amx_tile amx_int8",
            "x86_64",
            ["AVX2", "AVX-512", "VNNI", "AVX-512 bf16", "AMX", "AMX bf16", "AMX int8"],
            [],
        ),
        ("avx2 avx_vnni", "x86_64", ["AVX2", "VNNI"], ["AVX-512", "AMX"]),
        ("avx2 avx512f", "x86_64", ["AVX2"], ["AVX-512", "VNNI", "AMX"]),
        ("", "riscv64", [], []),
    ],
)
def test_instruction_sets(flags: str, machine: str, present: list[str], absent: list[str]) -> None:
    assert instruction_sets({"flags": flags}, machine) == (present, absent)


def test_arm_has_its_own_names() -> None:
    assert instruction_sets({"Features": "fp asimd"}, "aarch64") == (["NEON"], ["SVE"])


def test_another_project_of_that_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyPI's `qec` installs a module `qec`: a note while ours is found first."""
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: {"qec": ["qecpipe", "qec"]})
    (finding,) = (one for one in modules() if one.name == "qec")
    assert finding.level == "note"
    assert "the package qec installs a module of that name too" in finding.value


def test_a_module_from_elsewhere_is_a_problem_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "qec").mkdir()
    (tmp_path / "qec" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "qec")
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: {"qec": ["qec"]})
    (finding,) = (one for one in modules() if one.name == "qec")
    assert finding.level == "problem"
    assert "of the package qec" in finding.value
    assert "pip uninstall qec" in finding.value


@pytest.mark.parametrize("reason", [None, "the kernel compiler NVRTC was not found"])
def test_a_gpu_that_torch_offers_may_still_lack_what_device_needs(
    monkeypatch: pytest.MonkeyPatch, reason: str | None
) -> None:
    card = SimpleNamespace(name="NVIDIA H100", major=9, minor=0, total_memory=80 * 2**30)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda index: card)
    monkeypatch.setattr("cuda.qecpipe.cuda_status", lambda index: DeviceStatus(reason))
    (finding,) = gpu()
    assert (finding.section, finding.name) == ("gpu", "cuda:0")
    assert finding.level == ("ok" if reason is None else "note")
    assert finding.value.startswith("NVIDIA H100 (sm_90, 80 GiB)")
    assert finding.value.endswith("" if reason is None else f", which --device cannot use: {reason}")
