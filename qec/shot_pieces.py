"""Where shots end in files of every Stim format: pieces of bounded memory, each for Stim to read or write.

Stim's own reader and writer handle one small temporary file at a time; this module only cuts between shots.
"""

import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Literal, get_args

import numpy as np
import stim

from qec.output_file import naming

__all__ = ["PTB64_GROUP", "SHOT_FORMATS", "ShotFileError", "ShotFormat", "ShotRecord", "decoded_pieces"]

ShotFormat = Literal["01", "b8", "dets", "hits", "ptb64", "r8"]
SHOT_FORMATS: tuple[str, ...] = get_args(ShotFormat)

_PIECE_BYTES = 1 << 20  # what Stim is handed at a time, as packed bits
PTB64_GROUP = 64  # ptb64 interleaves the bits of this many shots


class ShotFileError(ValueError):
    """A shot file does not fit what it is read as, or cannot hold what is written to it."""


@dataclass(frozen=True)
class ShotRecord:
    """What one shot of a file is."""

    format: ShotFormat
    num_measurements: int
    num_detectors: int
    num_observables: int

    def __post_init__(self) -> None:
        if self.format not in SHOT_FORMATS:
            raise ShotFileError(f"format={self.format!r} is unknown; use one of {', '.join(SHOT_FORMATS)}")
        counts = (self.num_measurements, self.num_detectors, self.num_observables)
        if min(counts) < 0 or not any(counts) or (self.num_measurements and any(counts[1:])):
            raise ShotFileError(
                "num_measurements={}, num_detectors={}, num_observables={} is no shot; give a number of "
                "measurements, or of detectors and observables".format(*counts)
            )

    @property
    def bits(self) -> int:
        return self.num_measurements + self.num_detectors + self.num_observables

    @property
    def packed_bytes(self) -> int:
        return (self.bits + 7) // 8

    @property
    def piece_shots(self) -> int:
        """Shots of about _PIECE_BYTES, a multiple of 64 so that ptb64 can be cut there."""
        return max(1, _PIECE_BYTES // self.packed_bytes // PTB64_GROUP) * PTB64_GROUP

    def decode(self, piece: bytes, scratch: Path) -> np.ndarray:
        with naming(scratch):
            scratch.write_bytes(piece)
        return stim.read_shot_data_file(
            path=scratch,
            format=self.format,
            bit_packed=True,
            num_measurements=self.num_measurements,
            num_detectors=self.num_detectors,
            num_observables=self.num_observables,
        )

    def encode(self, shots: np.ndarray, scratch: Path) -> bytes:
        stim.write_shot_data_file(
            data=shots,
            path=scratch,
            format=self.format,
            num_measurements=self.num_measurements,
            num_detectors=self.num_detectors,
            num_observables=self.num_observables,
        )
        return scratch.read_bytes()

    def checked(self, array: np.ndarray) -> np.ndarray:
        if array.dtype != np.uint8 or array.ndim != 2 or array.shape[1] != self.packed_bytes:
            raise ShotFileError(
                f"cannot write {array.dtype} of shape {array.shape} as shots of {self.bits} bits; "
                f"pack them into uint8 of shape (shots, {self.packed_bytes})"
            )
        return array


def decoded_pieces(path: Path, record: ShotRecord) -> Iterator[np.ndarray]:
    """Bit-packed shots of a file, uint8 `(shots, ceil(bits / 8))`, piece by piece.

    Raises:
        ShotFileError: the file does not hold such shots; what can be read before the fault comes first.
    """
    shots = 0
    with tempfile.TemporaryDirectory() as folder, path.open("rb") as file:
        scratch = Path(folder) / "piece"
        status = os.fstat(file.fileno())
        size = status.st_size if stat.S_ISREG(status.st_mode) else None
        try:
            for piece in _pieces(file, record, size):
                try:
                    decoded = record.decode(piece, scratch)
                except ValueError:
                    if record.format not in ("01", "dets", "hits"):
                        raise
                    good, line = _first_bad_line(piece, record, scratch)
                    shots += good
                    record.decode(line, scratch)
                    raise
                shots += len(decoded)
                yield decoded
        except ValueError as error:
            raise ShotFileError(
                f"{path} ({'a stream' if size is None else f'{size} bytes'}) does not hold shots of "
                f"{record.bits} bits in format {record.format!r}: {' '.join(str(error).split())} "
                f"(in shot {shots}, counted from 0); check the format and that the file is of this circuit"
            ) from error


def _first_bad_line(piece: bytes, record: ShotRecord, scratch: Path) -> tuple[int, bytes]:
    """How many lines Stim reads before one that it does not, and that line; a shot is a line."""
    lines = [line + b"\n" for line in piece.split(b"\n")[:-1]]
    good, bad = 0, len(lines)  # the first `good` lines can be read, the first `bad` cannot
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            record.decode(b"".join(lines[good:middle]), scratch)
        except ValueError:
            bad = middle
        else:
            good = middle
    return good, lines[good]


def _pieces(file: BinaryIO, record: ShotRecord, size: int | None) -> Iterator[bytes]:
    """Cut a file between shots, into pieces of bounded memory; what is whole comes before what is not."""
    if record.format == "r8":
        return _r8_pieces(file, record.bits)
    if record.format in ("b8", "ptb64"):
        group, unit = (PTB64_GROUP, 8 * record.bits) if record.format == "ptb64" else (1, record.packed_bytes)
        reason = f"the size is not a multiple of {unit} bytes, which hold {group} shot(s)"
        if size is not None and size % unit:
            raise ValueError(reason)
        return _fixed_pieces(file, record.piece_shots // group * unit, unit, reason)
    return _line_pieces(file, record.piece_shots)


def _fixed_pieces(file: BinaryIO, length: int, unit: int, reason: str) -> Iterator[bytes]:
    while piece := file.read(length):
        rest = len(piece) % unit
        if len(piece) > rest:
            yield piece[: len(piece) - rest]
        if rest:
            raise ValueError(reason)


def _line_pieces(file: BinaryIO, lines: int) -> Iterator[bytes]:
    while piece := list(islice(file, lines)):
        if not piece[-1].endswith(b"\n"):  # Stim would read 'shot D1', cut off from 'shot D12', as it stands
            if piece[:-1]:
                yield b"".join(piece[:-1])
            raise ValueError("the last line has no end, as if the file had been cut off")
        yield b"".join(piece)


def _r8_pieces(file: BinaryIO, bits: int) -> Iterator[bytes]:
    """Cut a run-length stream where shots end.

    A byte b < 255 stands for b zeros and a one, 255 for 255 zeros; each shot ends with an extra one after its
    last bit. So a shot's bytes reach over bits + 1 positions, and shots end at the multiples of that.
    """
    begun, position = b"", 0  # bytes of the shot that the last block began, and how far they reach
    while block := file.read(_PIECE_BYTES // 8):
        steps = np.frombuffer(block, dtype=np.uint8).astype(np.int64)
        reached = position + np.cumsum(steps + (steps != 255))
        ended = reached % (bits + 1) == 0
        jumps = np.flatnonzero(np.cumsum(ended) != reached // (bits + 1))
        ends = np.flatnonzero(ended[: jumps[0]] if len(jumps) else ended)
        cut = int(ends[-1]) + 1 if len(ends) else 0
        if cut:
            yield begun + block[:cut]
            begun = b""
        if len(jumps):
            raise ValueError("r8 data jumps past the end of a shot")
        position = int(reached[-1] % (bits + 1))
        begun += block[cut:]
    if begun:
        raise ValueError(f"r8 data ends {bits + 1 - position} positions before the end of a shot")
