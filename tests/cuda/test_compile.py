"""NVRTC builds every kernel for every supported architecture, without a GPU or a driver."""

import pytest
from cuda.pathfinder import DynamicLibNotFoundError

from cuda.qecpipe import KernelBuildError, compile_cubin
from cuda.qecpipe.blocked_input import SOURCE_FILE, kernel_entry
from cuda.qecpipe.compile import compile_cubin_text

ELF_MACHINE_CUDA = 190


@pytest.mark.usefixtures("nvrtc")
@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_100"])
def test_cubin_is_gpu_code_with_every_entry(arch: str) -> None:
    cubin = compile_cubin(SOURCE_FILE, arch=arch)
    assert cubin[:4] == b"\x7fELF"
    assert int.from_bytes(cubin[18:20], "little") == ELF_MACHINE_CUDA
    for dtype in ("float32", "float16", "bfloat16", "uint8"):
        assert b".text." + kernel_entry(dtype).encode() + b"\0" in cubin
    assert compile_cubin(SOURCE_FILE, arch=arch) is cubin


@pytest.mark.usefixtures("nvrtc")
def test_architectures_give_different_code() -> None:
    assert len({compile_cubin(SOURCE_FILE, arch=arch) for arch in ("sm_80", "sm_90", "sm_100")}) == 3


@pytest.mark.usefixtures("nvrtc")
def test_compile_error_carries_the_compilers_log() -> None:
    with pytest.raises(
        KernelBuildError, match=r"broken\.cu for sm_90:\n[^$]*broken\.cu\(2\): error: identifier \"nope\""
    ):
        compile_cubin_text(
            'extern "C" __global__ void k(int *x) {\n  *x = nope;\n}', name="broken.cu", arch="sm_90"
        )


@pytest.mark.usefixtures("nvrtc")
def test_unknown_architecture_is_named() -> None:
    with pytest.raises(KernelBuildError, match="for sm_17"):
        compile_cubin(SOURCE_FILE, arch="sm_17")


@pytest.mark.parametrize("arch", ["compute_90", "90", "sm_90 -G", ""])
def test_malformed_architecture_is_rejected(arch: str) -> None:
    with pytest.raises(ValueError, match="is not a GPU architecture"):
        compile_cubin(SOURCE_FILE, arch=arch)


@pytest.mark.parametrize("name", ["nothing.cu", "portable.h", "../kernels/blocked_input.cu"])
def test_unknown_source_lists_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match=r"has: blocked_input\.cu"):
        compile_cubin(name, arch="sm_90")


def test_missing_nvrtc_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    core = pytest.importorskip("cuda.core")

    def missing(*args: object, **kwargs: object) -> None:
        raise DynamicLibNotFoundError("nvrtc")

    monkeypatch.setattr(core, "Program", missing)
    with pytest.raises(KernelBuildError, match="pip install nvidia-cuda-nvrtc"):
        compile_cubin_text("", name="empty.cu", arch="sm_90")
