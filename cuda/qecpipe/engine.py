"""A network on a device: batches of any number of shots, two at a time, and no allocation once it is warm.

Batches have a few sizes, each with memory and a graph of its own, twice: while the host uses what the device
made of one batch, the device works on the next. A batch that is not full is computed like a full one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from cuda.qecpipe.device_protocol import DeviceLostError, DeviceMemoryError, Driver
from cuda.qecpipe.program import Memory, Program

__all__ = ["BATCH_SHOTS", "CudaEngine", "common_parts"]

BATCH_SHOTS = 1024
_AT_ONCE = 2
"""Batches of one size that may be under way."""
_FACTOR = 4
"""Between the sizes of batches."""


def common_parts(engines: Sequence[CudaEngine], shots: int) -> Iterator[slice]:
    """Cut shots into batches, each of which `submit` of every engine takes, and prepare what they need.

    Args:
        engines: made with the same `batch_shots`; how much fits their devices may differ.

    Raises:
        DeviceError: see `CudaEngine.submit`.
    """
    start = 0
    while start < shots:
        stop = min(shots, start + min(engine._prepared(shots - start) for engine in engines))
        for engine in engines:
            engine._prepared(stop - start)
        yield slice(start, stop)
        start = stop


class CudaEngine:
    """A program on one device; threads may use it at once."""

    def __init__(self, program: Program, driver: Driver, *, batch_shots: int = BATCH_SHOTS) -> None:
        """Copy the tables.

        Args:
            batch_shots: of the largest batch.

        Raises:
            DeviceError: the device fails.
        """
        if batch_shots < 1:
            raise ValueError(f"batch_shots={batch_shots} is less than 1")
        self._program, self._driver = program, driver
        self._sizes = _sizes(batch_shots)
        self._usable = self._sizes  # they are prepared, or may still fit
        self._tables = Memory.load(program, driver)
        self._idle: dict[int, list[Memory]] = {}
        self._changed = threading.Condition()
        self._preparing = threading.Lock()
        self._lost: DeviceLostError | None = None

    @property
    def batch_shots(self) -> int:
        """Shots of the largest batch: fewer than were asked for where the device's memory is small."""
        return self._usable[-1]

    def warm(self, shots: int) -> None:
        """Prepare all that so many shots need. Afterwards they are computed without an allocation.

        Raises:
            DeviceError: see `submit`.
        """
        for _ in self.parts(shots):
            pass

    def parts(self, shots: int) -> Iterator[slice]:
        """Cut shots into batches, each of which `submit` takes."""
        return common_parts([self], shots)

    def submit(self, packed: np.ndarray, *, wait: bool = True) -> _Batch | None:
        """Begin a batch.

        Args:
            packed: uint8 `(S, ceil(D / 8))`, LSB first, as `parts` cuts them.
            wait: where two batches of its size are under way, rather than give None.

        Raises:
            DeviceMemoryError: the device's memory holds not even one shot.
            GraphCaptureError: the network does not run on the device, or cannot be captured.
            DeviceLostError: the device failed, now or before.
            ValueError: there are more shots than a batch holds, or none, or of another length or type.
        """
        size, row = self._prepared(max(1, len(packed))), self._program.row_bytes
        if not 0 < len(packed) <= size or packed.shape[1:] != (row,) or packed.dtype != np.uint8:
            raise ValueError(
                f"a batch is {packed.dtype} of shape {packed.shape}; "
                f"use 1 to {size} shots of {row} bytes, uint8"
            )
        memory = self._taken(size, wait=wait)
        if memory is None:
            return None
        try:
            memory.packed[: len(packed)] = packed
            with self._noticing_loss():
                memory.start()
            return _Batch(self, memory, len(packed))
        except BaseException:
            # What was queued is over before the memory's next batch: that is on the same stream.
            self._give_back(memory)
            raise

    def _prepared(self, shots: int) -> int:
        """The size of the batch that some shots begin with, ready to be used."""
        while True:
            with self._preparing:
                self._check()
                size = self._chosen(shots)
                if size in self._idle:
                    return size
                try:
                    self._idle[size] = self._made(size)
                    return size
                except DeviceMemoryError:
                    usable = [other for other in self._usable if other < size or other in self._idle]
                    if not usable:
                        raise
                    self._usable = usable
                self._driver.release()  # only now is nothing left that holds on to what was allocated

    def _chosen(self, shots: int) -> int:
        """The size that fits best; where it did not fit the device, a prepared one that holds the shots.

        It stays what it is once it is prepared, whatever else does not fit later.
        """
        size = _fitting(self._sizes, shots)
        if size in self._usable:
            return size
        return min((size for size in self._idle if size >= shots), default=self._usable[-1])

    def _made(self, size: int) -> list[Memory]:
        with self._noticing_loss():
            return [Memory(self._program, self._driver, self._tables, shots=size) for _ in range(_AT_ONCE)]

    def _taken(self, size: int, *, wait: bool) -> Memory | None:
        with self._changed:
            while not self._idle[size]:
                self._check()
                if not wait:
                    return None
                self._changed.wait()
            return self._idle[size].pop()

    def _give_back(self, memory: Memory) -> None:
        with self._changed:
            self._idle[memory.shots].append(memory)
            self._changed.notify_all()  # they may wait for another size

    def _check(self) -> None:
        if self._lost is not None:
            raise DeviceLostError(str(self._lost)) from self._lost

    @contextmanager
    def _noticing_loss(self) -> Iterator[None]:
        """Remember that the device failed, for all who wait for it or come later."""
        try:
            yield
        except DeviceLostError as error:
            with self._changed:
                self._lost = error
                self._changed.notify_all()
            raise


class _Batch:
    """A batch on a device; see `Pending`."""

    def __init__(self, engine: CudaEngine, memory: Memory, shots: int) -> None:
        self._engine, self._memory, self._shots = engine, memory, shots
        self._waited = False

    def results(self) -> dict[str, np.ndarray]:
        self._waited = True
        with self._engine._noticing_loss():
            return self._memory.results(self._shots)

    def done(self) -> None:
        engine = self._engine
        try:
            if not self._waited and engine._lost is None:  # the device may still read or write the memory
                self.results()
        finally:
            engine._give_back(self._memory)


def _sizes(largest: int) -> list[int]:
    """1, 4, 16 and so on up to the largest."""
    sizes = [1]
    while sizes[-1] * _FACTOR < largest:
        sizes.append(sizes[-1] * _FACTOR)
    return sizes if largest == 1 else [*sizes, largest]


def _fitting(sizes: Sequence[int], shots: int) -> int:
    """The smallest size that holds the shots; the largest that they fill, where most would be empty."""
    holding = next((size for size in sizes if size >= shots), sizes[-1])
    if holding <= 2 * shots:
        return holding
    return max(size for size in sizes if size <= shots)
