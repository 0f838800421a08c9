"""Arrays as native code takes them: by address, so their type, shape and order are checked before."""

from __future__ import annotations

import numpy as np

__all__ = ["address", "checked"]


def address(array: np.ndarray) -> int:
    """Return the address of the first element; the caller keeps the array alive."""
    return array.ctypes.data


def checked(array: np.ndarray, dtype: type[np.generic], shape: tuple[int, ...]) -> np.ndarray:
    """The array, or a contiguous copy of it.

    Raises:
        ValueError: it has another type or shape.
    """
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(
            f"got an array of {array.dtype} {array.shape}, but {np.dtype(dtype)} {shape} was expected"
        )
    return np.ascontiguousarray(array)
