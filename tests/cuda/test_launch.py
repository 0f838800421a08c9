"""The launch code up to the driver's door: context first, torch's stream, arguments untouched."""

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cuda.qecpipe import launch as module
from cuda.qecpipe import launch_kernel

core = pytest.importorskip("cuda.core")


@pytest.mark.parametrize(("torch_handle", "cuda_handle"), [(0, 1), (0x7F00, 0x7F00)])
def test_launch_order_stream_and_arguments(
    monkeypatch: pytest.MonkeyPatch, torch_handle: int, cuda_handle: int
) -> None:
    calls: list[object] = []

    @contextlib.contextmanager
    def current_device(device: torch.device) -> Iterator[None]:
        calls.append(("enter", device.index))
        yield
        calls.append("exit")

    def load(source: str, entry: str, *, device_index: int) -> str:
        calls.append("load")
        return f"{source}:{entry}@{device_index}"

    def launch(stream, config, kernel, *arguments):
        calls.append(("launch", stream.__cuda_stream__(), config.grid, config.block, kernel, arguments))

    monkeypatch.setattr(torch.cuda, "device", current_device)
    monkeypatch.setattr(
        torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=torch_handle)
    )
    monkeypatch.setattr(
        core, "Device", lambda i: SimpleNamespace(set_current=lambda: calls.append(("set_current", i)))
    )
    monkeypatch.setattr(core, "launch", launch)
    monkeypatch.setattr(module, "_load_kernel", load)
    arguments = (0x1000, np.int64(3))
    launch_kernel("a.cu", "k", device=torch.device("cuda", 2), grid=7, block=256, arguments=arguments)
    assert calls == [
        ("enter", 2),
        ("set_current", 2),
        "load",
        ("launch", (0, cuda_handle), (7, 1, 1), (256, 1, 1), "a.cu:k@2", arguments),
        "exit",
    ]


def test_cuda_core_accepts_our_stream() -> None:
    """cuda.core's own reading of the stream protocol, which needs no driver."""
    stream = core.Stream._init(obj=module._TorchStream(0x7F00))
    assert stream.__cuda_stream__() == (0, 0x7F00)


@pytest.mark.parametrize(
    ("device", "grid", "block", "message"),
    [
        ("cpu", 1, 1, "not cpu"),
        ("cuda", 1, 1, "with its index, such as cuda:0, not cuda"),
        ("cuda:0", 0, 256, "grid=0 block=256"),
        ("cuda:0", 1, 0, "grid=1 block=0"),
    ],
)
def test_bad_launches_are_named(device: str, grid: int, block: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        launch_kernel("a.cu", "k", device=torch.device(device), grid=grid, block=block, arguments=())
