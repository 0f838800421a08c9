"""Registers and memory of every kernel on every architecture that is served, as NVRTC reports them."""

import io

import pytest

import _qecpipe
from cuda.qecpipe import KernelBuildError, KernelResources, kernel_resources, resources
from cuda.qecpipe.compile import KERNELS
from scripts.gpu.resources import ARCHITECTURES, main

SOURCES = sorted(path.name for path in KERNELS.glob("*.cu"))
REGISTERS = 65_536
"""Of a multiprocessor, for all of its threads."""
LARGEST_BLOCK = 512


@pytest.mark.usefixtures("nvrtc")
@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("source", SOURCES)
def test_nothing_is_spilled_and_two_blocks_fit(source: str, arch: str) -> None:
    found = kernel_resources(source, arch=arch)
    assert set(found) == {name for name in _qecpipe.kernels() if name.startswith(source.removesuffix(".cu"))}
    for name, needed in found.items():
        assert needed == KernelResources(needed.registers, stack_bytes=0, spill_bytes=0), name
        assert 0 < 2 * LARGEST_BLOCK * needed.registers <= REGISTERS, name


@pytest.mark.usefixtures("nvrtc")
def test_the_table_for_ci_has_every_kernel_and_fails_on_a_spill(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[-6:-2] == [*ARCHITECTURES]
    assert sorted(line.split()[0] for line in lines[1:]) == sorted(_qecpipe.kernels())
    assert all(line.endswith("0 B, 0 B") for line in lines[1:])
    spilling = {"k": KernelResources(255, stack_bytes=0, spill_bytes=8)}
    monkeypatch.setattr("scripts.gpu.resources.kernel_resources", lambda source, arch: spilling)
    assert main() == 1


@pytest.mark.usefixtures("nvrtc")
def test_what_is_spilled_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """A kernel that keeps a large array of its own, and one that does not."""
    path = tmp_path / "two.cu"
    path.write_text(
        'extern "C" __global__ void large(int *x) {\n'
        "  int local[512];\n"
        "  for (int i = 0; i < 512; ++i) local[x[i] & 511] = i;\n"
        "  x[0] = local[x[1] & 511];\n"
        "}\n"
        'extern "C" __global__ void small(int *x) { *x += 1; }\n'
    )
    monkeypatch.setattr(resources, "kernel_source", lambda name: path)
    found = kernel_resources("two.cu", arch="sm_90")
    assert found["large"].stack_bytes >= 2048
    assert found["small"].stack_bytes == 0


def test_a_report_without_kernels_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(text: str, *, name: str, arch: str, report: io.StringIO) -> bytes:
        report.write("ptxas info    : 0 bytes gmem\n")
        return b""

    monkeypatch.setattr(resources, "compile_cubin_text", silent)
    with pytest.raises(
        KernelBuildError, match=r"no kernel is reported for correct\.cu and sm_90:\nptxas info"
    ):
        kernel_resources("correct.cu", arch="sm_90")
