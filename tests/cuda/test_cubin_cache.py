"""Compiled kernels are kept by what they depend on; what is broken, or cannot be kept, is compiled."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cuda.qecpipe import KernelBuildError, cubin_cache
from cuda.qecpipe.cubin_cache import cached_cubin

SOURCE = "quantize_moves.cu"


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What was compiled, by a stand-in for NVRTC."""
    calls: list[str] = []

    def compile_cubin(source: str, *, arch: str) -> bytes:
        calls.append(f"{source} {arch}")
        return b"\x7fELF" + arch.encode()

    monkeypatch.setattr(cubin_cache, "compile_cubin", compile_cubin)
    cached_cubin.cache_clear()
    yield calls
    cached_cubin.cache_clear()


def again(folder: Path, *, arch: str = "sm_90") -> bytes:
    """As another process would ask."""
    cached_cubin.cache_clear()
    return cached_cubin(SOURCE, arch=arch, folder=folder)


def test_a_second_process_finds_what_the_first_compiled(compiled: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there yet"
    assert again(folder) == again(folder) == b"\x7fELFsm_90"
    assert again(folder, arch="sm_100") == b"\x7fELFsm_100"
    assert compiled == [f"{SOURCE} sm_90", f"{SOURCE} sm_100"]
    assert len(list(folder.iterdir())) == 2  # and nothing half-written


def test_a_changed_header_is_another_kernel(
    compiled: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = tmp_path / "headers"
    headers.mkdir()
    (headers / "portable.h").write_text("// one")
    monkeypatch.setattr(cubin_cache, "KERNELS", headers)
    again(tmp_path)
    (headers / "portable.h").write_text("// two")
    again(tmp_path)
    again(tmp_path)
    assert len(compiled) == 2


def test_a_damaged_entry_is_made_anew(compiled: list[str], tmp_path: Path) -> None:
    again(tmp_path)
    (entry,) = tmp_path.iterdir()
    entry.write_bytes(b"")
    assert again(tmp_path) == b"\x7fELFsm_90"
    assert entry.read_bytes() == b"\x7fELFsm_90"
    assert len(compiled) == 2


def test_a_folder_that_cannot_be_written(compiled: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert again(tmp_path / "file" / "folder") == b"\x7fELFsm_90"
    assert len(compiled) == 1


def test_what_does_not_compile_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: str, *, arch: str) -> bytes:
        raise KernelBuildError(f"NVRTC could not compile {source} for {arch}")

    monkeypatch.setattr(cubin_cache, "compile_cubin", fail)
    with pytest.raises(KernelBuildError, match="for sm_90"):
        again(tmp_path)
    assert not list(tmp_path.iterdir())
