"""Files of gaps: how sure a decoder is of each prediction, as NumPy or CSV."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from qec import naming, output_file

__all__ = ["check_gap_file", "gap_file"]

_SUFFIXES = (".npy", ".csv")


def check_gap_file(path: Path) -> None:
    """Raise ValueError where the suffix does not say what kind of file to write."""
    if path.suffix not in _SUFFIXES:
        raise ValueError(f"the suffix of {str(path)!r} is not {' or '.join(_SUFFIXES)}; give one of them")


@contextmanager
def gap_file(path: Path, *, num_observables: int) -> Iterator[Callable[[np.ndarray], None]]:
    """Give a function that takes gaps, float32 `(shots, num_observables)`, any number of times.

    The file appears when the block ends without an error. `.npy` holds one float32 array of all shots; `.csv`
    a line of names (L0, L1, ...) and a line for every shot, with digits enough to read the same float32.

    Raises:
        ValueError: another suffix.
        OSError: the file cannot be written.
    """
    check_gap_file(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with output_file(path) as unfinished, naming(path), unfinished.open("wb") as file:
        if path.suffix == ".csv":
            file.write((",".join(f"L{k}" for k in range(num_observables)) + "\n").encode())
            yield lambda gap: np.savetxt(file, gap, delimiter=",", fmt="%.9g")
        else:
            yield from _npy(file, num_observables)


def _npy(file: BinaryIO, num_observables: int) -> Iterator[Callable[[np.ndarray], None]]:
    """Values go to a file of their own first: the number of shots stands before them."""
    with tempfile.TemporaryFile() as values:
        shots = 0

        def write(gap: np.ndarray) -> None:
            nonlocal shots
            shots += len(gap)
            values.write(np.ascontiguousarray(gap, dtype="<f4").tobytes())

        yield write
        header = {"descr": "<f4", "fortran_order": False, "shape": (shots, num_observables)}
        np.lib.format.write_array_header_1_0(file, header)
        values.seek(0)
        shutil.copyfileobj(values, file)
