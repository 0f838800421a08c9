"""Shot files in every Stim format, read and written in pieces, so that a file larger than memory decodes.

Arrays are bit-packed: uint8, shape (shots, ceil(bits / 8)), little-endian bits, padding bits zero.
"""

import tempfile
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path

import numpy as np
import stim

from qec.output_file import output_file
from qec.shot_pieces import PTB64_GROUP, SHOT_FORMATS, ShotFileError, ShotFormat, ShotRecord, decoded_pieces

__all__ = [
    "SHOT_FORMATS",
    "ShotFileError",
    "ShotFormat",
    "detections_from_measurements",
    "iter_shots",
    "read_shots",
    "write_shots",
]


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
    record = ShotRecord(format, num_measurements, num_detectors, num_observables)
    return _rechunk(decoded_pieces(Path(path), record), chunk_shots)


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
    record = ShotRecord(format, num_measurements, num_detectors, num_observables)
    arrays = [shots] if isinstance(shots, np.ndarray) else shots
    written = 0
    with (
        output_file(path) as unfinished,
        tempfile.TemporaryDirectory() as folder,
        unfinished.open("wb") as file,
    ):
        for piece in _rechunk((record.checked(array) for array in arrays), record.piece_shots):
            if format == "ptb64" and len(piece) % PTB64_GROUP:
                total = written + len(piece)
                raise ShotFileError(f"{path}: {total} shots, but ptb64 holds multiples of 64; use b8")
            file.write(record.encode(piece, Path(folder) / "piece"))
            written += len(piece)
    return written


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
