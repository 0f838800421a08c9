"""A batch's way through a device: detections, the network's input, the network, what becomes of its logits.

Shape letters: S shots of a batch, D detectors, M moves, O observables, (T, I, J) blocks, V = 24 T I J logits
of a shot.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cuda.qecpipe.blocked_input import BLOCK, CHANNELS, check_source, kernel_entry, launch_arguments
from cuda.qecpipe.blocked_input import SOURCE_FILE as BLOCKED_INPUT
from cuda.qecpipe.correct import ENTRY, THREADS, CommitRule, CorrectionTables, correct_arguments
from cuda.qecpipe.correct import SOURCE_FILE as CORRECT
from cuda.qecpipe.device_protocol import Driver
from cuda.qecpipe.launch import Launch
from cuda.qecpipe.quantize_moves import SOURCE_FILE as QUANTIZE_MOVES
from cuda.qecpipe.quantize_moves import LogitType, quantize_moves_arguments, quantize_moves_entry

if TYPE_CHECKING:
    import torch

__all__ = ["Corrections", "Memory", "MoveLogits", "Output", "Program"]

_BLOCKS_AT_WORK = 1024
"""Blocks of the kernel `correct`, each with scratch memory of its own: several for every multiprocessor."""


@dataclass(frozen=True)
class MoveLogits:
    """Hand down the logits of all moves, `"logits"` `(S, M)`: int8 in units of 1 / scale, or float32."""

    scale: float | None = None


@dataclass(frozen=True, eq=False)
class Corrections:
    """Decide on the device, and hand down bits, LSB first, uint8 `(S, ceil(n / 8))`.

    They are `"moves"`, those that are committed, `"residual"` and `"flips"`.
    """

    tables: CorrectionTables
    rule: CommitRule


Output = MoveLogits | Corrections


@dataclass(frozen=True, eq=False)
class Program:
    """A network on one layout.

    Attributes:
        source: int32 `(8, T, I, J)`: the detector behind each detection channel of a block, -1 for none.
        num_detectors: D.
        network: logits `(S, 24, T, I, J)` of inputs `(S, 16, T, I, J)`, channels last, both of type `dtype`.
        dtype: of the network.
        places: int `(M,)`: where each move stands among a shot's logits in the order `(T, I, J, 24)`.
        output: what becomes of the logits.

    Raises:
        ValueError: `source` is of another form, or an output that the type does not have.
    """

    source: np.ndarray
    num_detectors: int
    network: Callable[[torch.Tensor], torch.Tensor]
    dtype: LogitType
    places: np.ndarray
    output: Output

    def __post_init__(self) -> None:
        check_source(self.source, self.num_detectors)
        if isinstance(self.output, MoveLogits) and self.output.scale is None and self.dtype != "float32":
            raise ValueError(f"logits of a network in {self.dtype} are handed down as int8: give a scale")

    @property
    def row_bytes(self) -> int:
        """Bytes of a shot's detections."""
        return -(-self.num_detectors // 8)


class Memory:
    """A program's memory on a device for batches of one size, and the graph that works on it.

    Attributes:
        shots: S, of a batch.
        packed: uint8 `(S, row_bytes)` on the host: fill it, then `start`.
        stream: of the device.
        done: passed when a batch that was started is finished.
    """

    def __init__(
        self, program: Program, driver: Driver, tables: dict[str, torch.Tensor], *, shots: int
    ) -> None:
        """Allocate, and capture the graph.

        Args:
            tables: of `load`.

        Raises:
            DeviceMemoryError: the device or the host has too little memory.
            GraphCaptureError: the network does not run, or cannot be captured.
        """
        import torch

        self.shots, self.stream, self.done = shots, driver.stream(), driver.event()
        self._program, self._driver, self._tables = program, driver, tables
        self._pairs: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        with driver.on(self.stream):
            self._packed_host = driver.pinned((shots, program.row_bytes), torch.uint8)
            self._packed = driver.memory((shots, program.row_bytes), torch.uint8)
            shape = (shots, *program.source.shape[1:], CHANNELS)
            self._input = driver.memory(shape, getattr(torch, program.dtype))
            self._scratch = self._allocate()
            self._graph = driver.capture(self._work)
        self.packed: np.ndarray = self._packed_host.numpy()

    @staticmethod
    def load(program: Program, driver: Driver) -> dict[str, torch.Tensor]:
        """Copy what does not depend on shots to the device."""
        tables = {"source": driver.table(program.source)}
        if isinstance(program.output, Corrections):
            arrays = program.output.tables.arrays
            return tables | {name: driver.table(array) for name, array in arrays.items()}
        kind = np.int64 if program.output.scale is None else np.int32  # torch's, or the kernel's
        return tables | {"places": driver.table(program.places.astype(kind))}

    def start(self) -> None:
        """Queue a batch: detections up, the graph, and what it makes down."""
        driver = self._driver
        with driver.on(self.stream):
            driver.copy(self._packed, self._packed_host)
            driver.replay(self._graph)
            for host, device in self._pairs.values():
                driver.copy(host, device)
            driver.record(self.done)

    def results(self, shots: int) -> dict[str, np.ndarray]:
        """Wait for the batch; what became of its first shots, by name, in memory of the next batch too."""
        self._driver.wait(self.done)
        return {name: self._rows(name)[:shots] for name in self._pairs}

    def _allocate(self) -> torch.Tensor | None:
        """Memory for what is handed down, on both sides; scratch memory."""
        import torch

        program, driver = self._program, self._driver
        if isinstance(program.output, MoveLogits):
            count, kind = self.shots * len(program.places), torch.float32
            if program.output.scale is not None:
                count, kind = count + -count % 4, torch.int8
            self._pairs["logits"] = driver.pinned((count,), kind), driver.memory((count,), kind)
            return None
        words = program.output.tables.buffer_words(shots=self.shots, grid=self._grid)
        scratch = words.pop("scratch")
        for name, count in words.items():
            self._pairs[name] = driver.pinned((count,), torch.int32), driver.memory((count,), torch.int32)
        return driver.memory((scratch,), torch.int32)

    def _rows(self, name: str) -> np.ndarray:
        flat, output = self._pairs[name][0].numpy(), self._program.output
        if isinstance(output, MoveLogits):
            moves = len(self._program.places)
            return flat[: self.shots * moves].reshape(self.shots, moves)
        tables = output.tables
        bits = {"moves": tables.num_moves, "residual": tables.num_detectors, "flips": tables.num_observables}
        return flat.view(np.uint8).reshape(self.shots, -1)[:, : -(-bits[name] // 8)]

    @property
    def _grid(self) -> int:
        return min(self.shots, _BLOCKS_AT_WORK)

    def _work(self) -> None:
        """What the graph holds."""
        program, tables = self._program, self._tables
        grid, arguments = launch_arguments(
            self._packed, tables["source"], self._input, n_detectors=program.num_detectors
        )
        self._driver.launch(Launch(BLOCKED_INPUT, kernel_entry(program.dtype), grid, BLOCK, arguments))
        logits = program.network(self._input.permute(0, 4, 1, 2, 3))
        rows = logits.permute(0, 2, 3, 4, 1).contiguous().reshape(self.shots, -1)
        if isinstance(program.output, Corrections):
            self._correct(rows, program.output)
        else:
            self._hand_down(rows, program.output)

    def _hand_down(self, rows_SV: torch.Tensor, output: MoveLogits) -> None:
        import torch

        moves, out, places = len(self._program.places), self._pairs["logits"][1], self._tables["places"]
        if output.scale is None:
            with torch.inference_mode():
                torch.index_select(rows_SV, 1, places, out=out.view(self.shots, moves))
            return
        grid, block, arguments = quantize_moves_arguments(
            logits=rows_SV.data_ptr(),
            places=places.data_ptr(),
            out=out.data_ptr(),
            shots=self.shots,
            volume=rows_SV.shape[1],
            moves=moves,
            scale=output.scale,
        )
        entry = quantize_moves_entry(self._program.dtype)
        self._driver.launch(Launch(QUANTIZE_MOVES, entry, grid, block, arguments))

    def _correct(self, rows_SV: torch.Tensor, output: Corrections) -> None:
        assert self._scratch is not None
        buffers = {name: device for name, (_, device) in self._pairs.items()} | {"scratch": self._scratch}
        arguments = correct_arguments(
            output.tables,
            output.rule,
            self._program.dtype,
            logits=rows_SV.data_ptr(),
            packed=self._packed.data_ptr(),
            on_device={name: tensor.data_ptr() for name, tensor in (self._tables | buffers).items()},
            shots=self.shots,
            volume=rows_SV.shape[1],
        )
        self._driver.launch(Launch(CORRECT, ENTRY, self._grid, THREADS, arguments))
