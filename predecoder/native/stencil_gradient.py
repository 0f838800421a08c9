"""Binding of `stencil_gradient.cpp`, for training: torch's own gradient takes most of a step.

Shape legend: B shots, (t, i, j) cells, C channels.
"""

from __future__ import annotations

import ctypes

import numpy as np

from predecoder.native.arrays import address, checked
from predecoder.native.library import load_library

__all__ = ["NativeStencilGradient"]

_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_int64
_LANES, _TAPS = 8, 27


class NativeStencilGradient:
    """The gradient of a depthwise 3 x 3 x 3 convolution to its weights, in one thread."""

    def __init__(self) -> None:
        """Raises NativeUnavailableError; see `load_library`."""
        self._run = load_library("stencil_gradient").qecpipe_stencil_gradient
        self._run.restype = None
        self._run.argtypes = [_POINTER, _POINTER, _SIZE, _SIZE, _SIZE, _SIZE, _SIZE, _POINTER]

    def __call__(self, x_BtijC: np.ndarray, gradient_BtijC: np.ndarray) -> np.ndarray:
        """float32 `(27, C)` of the input and of the gradient to the output, float32 `(B, t, i, j, C)`.

        Raises:
            ValueError: C is not a multiple of 8, or the arrays do not fit.
        """
        channels = x_BtijC.shape[-1]
        if channels % _LANES:
            raise ValueError(f"{channels} channels are not a multiple of {_LANES}")
        x_BtijC = checked(x_BtijC, np.float32, x_BtijC.shape)
        gradient_BtijC = checked(gradient_BtijC, np.float32, x_BtijC.shape)
        result = np.empty((_TAPS, channels), dtype=np.float32)
        self._run(address(x_BtijC), address(gradient_BtijC), *x_BtijC.shape, address(result))
        return result
