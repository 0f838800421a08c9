"""Devices for tests: one as late as it may be, and one that also writes down what it is asked, and fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from cuda.qecpipe import (
    CpuDriver,
    CudaDriver,
    Launch,
    MoveLogits,
    Program,
    blocked_input_reference,
    cuda_status,
    quantize_moves_reference,
)


@dataclass(eq=False)
class LateStream:
    """What was queued and has not run."""

    name: str
    waiting: list[Callable[[], Any]] = field(default_factory=list)


@dataclass(eq=False)
class LateEvent:
    """The stream that it was recorded on, and the place there."""

    stream: LateStream | None = None
    mark: Callable[[], Any] | None = None


class LateDriver(CpuDriver):
    """Runs nothing before it has to: at `wait`, and then only what is on that stream before the event.

    A host that fills a buffer before its last copy is known to be over, or reads one too early, gets wrong
    results.
    """

    def __init__(self, index: int = 0) -> None:
        super().__init__(index)
        self._current: list[LateStream] = []
        self._streams, self._running = 0, False

    def stream(self) -> Any:
        self._streams += 1
        return LateStream(f"stream {self._streams}")

    def event(self) -> Any:
        return LateEvent()

    @contextmanager
    def on(self, stream: Any) -> Iterator[None]:
        self._current.append(stream)
        try:
            yield
        finally:
            self._current.pop()

    def capture(self, work: Callable[[], None]) -> Any:
        self._now(work)
        return work

    def record(self, event: Any) -> None:
        event.stream, event.mark = self._current[-1], lambda: None
        event.stream.waiting.append(event.mark)

    def wait(self, event: Any) -> None:
        while event.stream is not None and event.mark in event.stream.waiting:
            self._now(event.stream.waiting.pop(0))

    def _put(self, work: Callable[[], Any]) -> None:
        if self._running:
            work()
        else:
            self._current[-1].waiting.append(work)

    def _now(self, work: Callable[[], Any]) -> None:
        self._running = True
        try:
            work()
        finally:
            self._running = False


class RecordingDriver(LateDriver):
    """Writes down what it is asked, but not what a graph does, and fails where `fail` says so.

    Attributes:
        calls: one line each.
        fail: by the name of a call, what takes its arguments and gives the error that it raises, or None.
    """

    def __init__(self, index: int = 0) -> None:
        super().__init__(index)
        self.calls: list[str] = []
        self.fail: dict[str, Callable[..., BaseException | None]] = {}
        self._capturing = False

    def _note(self, call: str, *arguments: Any, about: str = "") -> None:
        if self._running and not self._capturing:
            return
        self.calls.append(f"{call} {about}".strip())
        error = self.fail.get(call, lambda *_: None)(*arguments)
        if error is not None:
            raise error

    def memory(self, shape: Any, dtype: torch.dtype) -> torch.Tensor:
        self._note("memory", tuple(shape), about=str(tuple(shape)))
        return super().memory(shape, dtype)

    def pinned(self, shape: Any, dtype: torch.dtype) -> torch.Tensor:
        self._note("pinned", tuple(shape), about=str(tuple(shape)))
        return super().memory(shape, dtype)

    @contextmanager
    def on(self, stream: Any) -> Iterator[None]:
        self._note("on", about=stream.name)
        with super().on(stream):
            yield
        self._note("off", about=stream.name)

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        self._note("copy", about=f"{source.numel()} {source.dtype}".replace("torch.", ""))
        super().copy(target, source)

    def launch(self, launch: Launch) -> None:
        self._note("launch", about=launch.entry)
        super().launch(launch)

    def capture(self, work: Callable[[], None]) -> Any:
        self._note("capture")
        self._capturing = True
        try:
            return super().capture(work)
        finally:
            self._capturing = False
            self._note("captured")

    def replay(self, graph: Any) -> None:
        self._note("replay")
        super().replay(graph)

    def record(self, event: Any) -> None:
        self._note("record")
        super().record(event)

    def wait(self, event: Any) -> None:
        self._note("wait", about=event.stream.name)
        super().wait(event)

    def release(self) -> None:
        self._note("release")


def _network(x_BCtij: torch.Tensor) -> torch.Tensor:
    """Logits from about -16 to 16 that hardly two shots share, exact in whatever order they are summed."""
    detections = x_BCtij[:, :8].float()
    places = torch.arange(detections[0].numel(), dtype=torch.float32).reshape(detections.shape[1:])
    of_shot = (detections * (places % 31 - 15)).sum((1, 2, 3, 4), keepdim=True)
    channels = torch.arange(24, dtype=torch.float32).reshape(1, 24, 1, 1, 1)
    logits = of_shot / 32 + channels - 12 + detections.sum(1, keepdim=True) / 4
    return logits.to(x_BCtij.dtype).contiguous(memory_format=torch.channels_last_3d)


@pytest.fixture
def program() -> Callable[..., Program]:
    """`program(scale)`: a small layout, with moves at some of all places."""

    def make(scale: float | None = 8.0, *, detectors: int = 37) -> Program:
        rng = np.random.default_rng(3)
        source = rng.integers(-1, detectors, size=(8, 2, 1, 3), dtype=np.int32)
        return Program(source, detectors, _network, "float32", rng.permutation(144)[:41], MoveLogits(scale))

    return make


@pytest.fixture
def expected() -> Callable[[Program, np.ndarray], np.ndarray]:
    """`expected(program, packed)`: the logits that a program hands down, without a device."""

    def make(program: Program, packed: np.ndarray) -> np.ndarray:
        inputs = blocked_input_reference(
            packed, program.source, n_detectors=program.num_detectors, dtype="float32"
        )
        logits = program.network(torch.from_numpy(inputs).permute(0, 4, 1, 2, 3))
        rows = logits.permute(0, 2, 3, 4, 1).reshape(len(packed), -1).numpy()
        assert isinstance(program.output, MoveLogits)
        if program.output.scale is None:
            return rows[:, program.places]
        return quantize_moves_reference(rows, program.places, scale=program.output.scale)

    return make


@pytest.fixture
def shots() -> Callable[..., np.ndarray]:
    """`shots(count)`: random detections of 37 detectors, bits behind the last one set too."""

    def make(count: int, *, detectors: int = 37) -> np.ndarray:
        return np.random.default_rng(count).integers(0, 256, (count, -(-detectors // 8)), dtype=np.uint8)

    return make


@pytest.fixture
def late_driver() -> type[LateDriver]:
    return LateDriver


@pytest.fixture
def recording_driver() -> type[RecordingDriver]:
    return RecordingDriver


@pytest.fixture
def gpu() -> CudaDriver:
    """The first GPU; skips where there is none to use, and says why."""
    status = cuda_status()
    if not status.usable:
        pytest.skip(f"no GPU: {status.reason}")
    return CudaDriver(0)
