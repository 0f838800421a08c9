"""What the GPU's driver asks of torch.cuda and cuda.core, by stand-ins: order, arguments, errors."""

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cuda.qecpipe import (
    CudaDriver,
    DeviceError,
    DeviceLostError,
    DeviceMemoryError,
    GraphCaptureError,
    KernelBuildError,
    Launch,
    driver,
)

core = pytest.importorskip("cuda.core")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What torch.cuda and cuda.core were asked."""
    noted: list[Any] = []

    def context(name: str) -> Callable[..., Any]:
        @contextlib.contextmanager
        def entered(*arguments: Any, **options: Any) -> Iterator[None]:
            noted.append(f"enter {name}")
            try:
                yield
            finally:
                noted.append(f"exit {name}")

        return entered

    stream = SimpleNamespace(cuda_stream=0x7F00, synchronize=lambda: noted.append("synchronize"))
    monkeypatch.setattr(torch.cuda, "device", context("device"))
    monkeypatch.setattr(torch.cuda, "stream", context("stream"))
    monkeypatch.setattr(torch.cuda, "graph", context("graph"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: "graph")
    monkeypatch.setattr(
        core, "Device", lambda k: SimpleNamespace(set_current=lambda: noted.append(f"set_current {k}"))
    )
    return noted


@pytest.mark.parametrize(("torch_handle", "cuda_handle"), [(0, 1), (0x7F00, 0x7F00)])
def test_launch_context_first_then_torchs_stream(
    monkeypatch: pytest.MonkeyPatch, calls: list[Any], torch_handle: int, cuda_handle: int
) -> None:
    def load(source: str, entry: str, *, device_index: int) -> str:
        calls.append("load")
        return f"{source}:{entry}@{device_index}"

    def launch(stream: Any, config: Any, kernel: str, *arguments: Any) -> None:
        calls.append((stream.__cuda_stream__(), config.grid, config.block, kernel, arguments))

    monkeypatch.setattr(
        torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=torch_handle)
    )
    monkeypatch.setattr(core, "launch", launch)
    monkeypatch.setattr(driver, "_load_kernel", load)
    arguments = (0x1000, np.int64(3), np.float32(0.5))
    CudaDriver(2).launch(Launch("a.cu", "k", 7, 256, arguments))
    assert calls == [
        "enter device",
        "set_current 2",
        "load",
        ((0, cuda_handle), (7, 1, 1), (256, 1, 1), "a.cu:k@2", arguments),
        "exit device",
    ]


def test_cuda_core_accepts_our_stream() -> None:
    """cuda.core's own reading of the stream protocol, which needs no driver."""
    stream = core.Stream._init(obj=driver._TorchStream(0x7F00))
    assert stream.__cuda_stream__() == (0, 0x7F00)


def test_cuda_core_packs_arguments_as_kernels_take_them() -> None:
    """Pointers and i64 as 8 bytes, f32 as 4."""
    handler = pytest.importorskip("cuda.core._kernel_arg_handler")
    arguments = (0x123456789A, np.int64(-3), np.float32(0.375))
    holder = handler.ParamHolder(arguments)
    places = ctypes.cast(holder.ptr, ctypes.POINTER(ctypes.c_void_p))
    kinds = (ctypes.c_uint64, ctypes.c_int64, ctypes.c_float)
    found = [ctypes.cast(places[k], ctypes.POINTER(kind)).contents.value for k, kind in enumerate(kinds)]
    assert found == [0x123456789A, -3, 0.375]


@pytest.mark.parametrize(("grid", "block"), [(0, 256), (1, 0)])
def test_bad_launches_are_named(grid: int, block: int) -> None:
    with pytest.raises(ValueError, match=f"not grid={grid} block={block}"):
        Launch("a.cu", "k", grid, block, ())


def test_a_capture_follows_runs_that_let_libraries_choose(calls: list[Any]) -> None:
    def work() -> None:
        calls.append(f"work {torch.backends.cudnn.benchmark}")

    before = torch.backends.cudnn.benchmark
    assert CudaDriver(0).capture(work) == "graph"
    assert calls == [
        *["work True"] * 3,
        "synchronize",
        "enter stream",
        "enter graph",
        "work True",
        "exit graph",
        "exit stream",
    ]
    assert torch.backends.cudnn.benchmark == before


def failing(error: Exception, *, at: int) -> Callable[[], None]:
    """Work that fails the k-th time."""
    times = [0]

    def work() -> None:
        times[0] += 1
        if times[0] == at:
            raise error

    return work


def test_a_failed_capture_leaves_everything_as_it_was(calls: list[Any]) -> None:
    before = torch.backends.cudnn.benchmark
    with pytest.raises(GraphCaptureError, match=r"^cuda:1 failed to capture a graph: not permitted$"):
        CudaDriver(1).capture(failing(RuntimeError("not permitted\nmore of it"), at=4))
    assert calls[-2:] == ["exit graph", "exit stream"]
    assert torch.backends.cudnn.benchmark == before
    with pytest.raises(GraphCaptureError, match="failed to run what is to be captured: no such operator"):
        CudaDriver(1).capture(failing(RuntimeError("no such operator"), at=1))


def test_memory_that_is_short_in_a_capture_is_told_from_it(
    calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's own context then raises another error, while it ends the capture."""

    class Graph:
        def __init__(self, *arguments: Any, **options: Any) -> None: ...

        def __enter__(self) -> None: ...

        def __exit__(self, *error: Any) -> None:
            raise RuntimeError("capture_end called while nothing is captured")

    monkeypatch.setattr(torch.cuda, "graph", Graph)
    out = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    with pytest.raises(DeviceMemoryError, match="cuda:0 has too little memory to capture a graph"):
        CudaDriver(0).capture(failing(out, at=4))
    for at in (1, 3):
        with pytest.raises(DeviceMemoryError, match="Tried to allocate"):
            CudaDriver(0).capture(failing(out, at=at))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("CUDA error: an illegal memory access was encountered"), DeviceLostError),
        (RuntimeError("CUDA error: unspecified launch failure"), DeviceLostError),
        (RuntimeError("CUDA error: out of memory"), DeviceMemoryError),
        (DeviceMemoryError("as it is"), DeviceMemoryError),
        (KernelBuildError("as it is"), KernelBuildError),
    ],
)
def test_errors_of_a_device_say_what_it_was_doing(error: Exception, kind: type[Exception]) -> None:
    def synchronize() -> None:
        raise error

    with pytest.raises(kind) as found:
        CudaDriver(3).wait(SimpleNamespace(synchronize=synchronize))
    if isinstance(error, DeviceError | KernelBuildError):
        assert found.value is error
    else:
        assert str(found.value).startswith("cuda:3 ")
        assert "compute" in str(found.value)
        assert found.value.__cause__ is error


def test_errors_of_cuda_core_too(calls: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from cuda.core._utils.cuda_utils import CUDAError

    def launch(*arguments: Any) -> None:
        raise CUDAError("CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access")

    monkeypatch.setattr(core, "launch", launch)
    monkeypatch.setattr(driver, "_load_kernel", lambda *names, **options: "kernel")
    with pytest.raises(DeviceLostError, match="failed to run the kernel k: CUDA_ERROR_ILLEGAL_ADDRESS"):
        CudaDriver(0).launch(Launch("a.cu", "k", 1, 1, ()))
