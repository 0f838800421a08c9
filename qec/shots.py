"""Shot files in every Stim format, read and written in pieces, so that a file larger than memory decodes.

Stim's own reader and writer handle one small temporary file at a time; this module only finds where shots
end. Arrays are bit-packed: uint8, shape (shots, ceil(bits / 8)), little-endian bits, padding bits zero.
"""

import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import BinaryIO, Literal, get_args

import numpy as np
import stim

from qec.output_file import naming, output_file

ShotFormat = Literal["01", "b8", "dets", "hits", "ptb64", "r8"]
SHOT_FORMATS: tuple[str, ...] = get_args(ShotFormat)

_PIECE_BYTES = 1 << 20  # what Stim is handed at a time, as packed bits
_PTB64_GROUP = 64  # ptb64 interleaves the bits of this many shots


class ShotFileError(ValueError):
    """A shot file does not fit what it is read as, or cannot hold what is written to it."""


def iter_shots(
    path: str | Path,
    *,
    format: ShotFormat,
    num_measurements: int = 0,
    num_detectors: int = 0,
    num_observables: int = 0,
    chunk_shots: int = 4096,
) -> Iterator[np.ndarray]:
    """Read a shot file in chunks; memory use depends on the chunk, not on the file.

    A shot is num_measurements bits, or num_detectors and then num_observables bits; only 'dets' files tell
    the kinds apart (M, D, L). Sweep bits count as measurements, as they do for Stim.

    Yields:
        uint8 arrays of shape (chunk_shots, ceil(bits / 8)), little-endian bits; only the last may be shorter.

    Raises:
        ShotFileError: unknown format, impossible counts, chunk_shots < 1, or the file does not fit.
        OSError: the file cannot be read.
    """
    if chunk_shots < 1:
        raise ShotFileError(f"chunk_shots={chunk_shots} is too few; use 1 or more, such as 4096")
    record = _Record(format, num_measurements, num_detectors, num_observables)
    return _rechunk(_decoded_pieces(Path(path), record), chunk_shots)


def read_shots(
    path: str | Path, *, format: ShotFormat, num_detectors: int = 0, num_observables: int = 0
) -> np.ndarray:
    """All shots of a file, uint8 of shape (shots, ceil(bits / 8)); see `iter_shots`.

    Raises:
        ShotFileError: also where the file has no shots.
    """
    parts = list(
        iter_shots(path, format=format, num_detectors=num_detectors, num_observables=num_observables)
    )
    if not parts:
        raise ShotFileError(f"{path} has no shots; check that the file is complete")
    return np.concatenate(parts)


def detections_from_measurements(
    circuit: stim.Circuit,
    measurements: str | Path,
    *,
    format: ShotFormat,
    sweep: str | Path | None = None,
    sweep_format: ShotFormat = "b8",
    chunk_shots: int = 4096,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Detection events and observable flips from raw measurements and, if the circuit has any, sweep bits.

    Yields:
        (detections, flips), uint8 of shapes (shots, ceil(num_detectors / 8)) and
        (shots, ceil(num_observables / 8)), little-endian bits; as many shots a chunk as `iter_shots`.

    Raises:
        ShotFileError: as `iter_shots`; sweep bits missing or not in the circuit; the files differ in shots.
        OSError: a file cannot be read.
    """
    if (sweep is None) != (circuit.num_sweep_bits == 0):
        given, fix = ("no sweep file was", "add") if sweep is None else (f"{sweep} was", "leave out")
        raise ShotFileError(
            f"the circuit has {circuit.num_sweep_bits} sweep bits and {given} given; {fix} it"
        )
    shots = iter_shots(
        measurements, format=format, num_measurements=circuit.num_measurements, chunk_shots=chunk_shots
    )
    if sweep is None:
        return _converted(circuit, ((chunk, None) for chunk in shots))
    bits = iter_shots(
        sweep, format=sweep_format, num_measurements=circuit.num_sweep_bits, chunk_shots=chunk_shots
    )
    return _converted(circuit, _paired(shots, bits, names=f"{measurements} and {sweep}"))


def write_shots(
    path: str | Path,
    shots: np.ndarray | Iterable[np.ndarray],
    *,
    format: ShotFormat,
    num_measurements: int = 0,
    num_detectors: int = 0,
    num_observables: int = 0,
) -> int:
    """Write bit-packed shots, all or nothing: the file appears when it is complete (see `output_file`).

    Args:
        shots: uint8 (shots, ceil(bits / 8)), little-endian bits, or an iterable of such arrays, each written
            before the next is asked for. Predictions of observables are num_observables bits per shot.

    Returns:
        The number of shots written.

    Raises:
        ShotFileError: unknown format, arrays of another shape or dtype, or 'ptb64' for other than 64 n shots.
        OSError: the file cannot be written.
    """
    record = _Record(format, num_measurements, num_detectors, num_observables)
    arrays = [shots] if isinstance(shots, np.ndarray) else shots
    written = 0
    with (
        output_file(path) as unfinished,
        tempfile.TemporaryDirectory() as folder,
        unfinished.open("wb") as file,
    ):
        for piece in _rechunk((record.checked(array) for array in arrays), record.piece_shots):
            if format == "ptb64" and len(piece) % _PTB64_GROUP:
                total = written + len(piece)
                raise ShotFileError(f"{path}: {total} shots, but ptb64 holds multiples of 64; use b8")
            file.write(record.encode(piece, Path(folder) / "piece"))
            written += len(piece)
    return written


@dataclass(frozen=True)
class _Record:
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
        return max(1, _PIECE_BYTES // self.packed_bytes // _PTB64_GROUP) * _PTB64_GROUP

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


def _decoded_pieces(path: Path, record: _Record) -> Iterator[np.ndarray]:
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


def _first_bad_line(piece: bytes, record: _Record, scratch: Path) -> tuple[int, bytes]:
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


def _pieces(file: BinaryIO, record: _Record, size: int | None) -> Iterator[bytes]:
    """Cut a file between shots, into pieces of bounded memory; what is whole comes before what is not."""
    if record.format == "r8":
        return _r8_pieces(file, record.bits)
    if record.format in ("b8", "ptb64"):
        group, unit = (
            (_PTB64_GROUP, 8 * record.bits) if record.format == "ptb64" else (1, record.packed_bytes)
        )
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


def _rechunk(arrays: Iterable[np.ndarray], shots: int) -> Iterator[np.ndarray]:
    """The same rows in arrays of exactly `shots` rows, the last one excepted."""
    held: list[np.ndarray] = []
    missing = shots
    for array in arrays:
        while len(array) >= missing:
            yield np.concatenate([*held, array[:missing]])
            array, held, missing = array[missing:], [], shots
        if len(array):
            held.append(array)
            missing -= len(array)
    if held:
        yield np.concatenate(held)


def _paired(
    first: Iterator[np.ndarray], second: Iterator[np.ndarray], *, names: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    shots = 0
    for a, b in zip_longest(first, second):
        if a is None or b is None or len(a) != len(b):
            more = min(0 if a is None else len(a), 0 if b is None else len(b))
            raise ShotFileError(f"only one of {names} ends after {shots + more} shots; use files of one run")
        shots += len(a)
        yield a, b


def _converted(
    circuit: stim.Circuit, chunks: Iterable[tuple[np.ndarray, np.ndarray | None]]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    converter = circuit.compile_m2d_converter()
    for measurements, sweep_bits in chunks:
        yield converter.convert(
            measurements=measurements, sweep_bits=sweep_bits, separate_observables=True, bit_packed=True
        )
