"""The pre-decoder's inner loops in C++, compiled at first use; where that fails, callers go on in Python.

`load_library` compiles and loads a source of this folder, `NativeUnavailableError` says why it could not, and
`native_or_none` turns that into a message in the log. `NativeMatching` explains shots by matchings on logits,
`NativeNetwork` and, in integers, `NativeIntegerNetwork` compute logits, `NativeResidual` applies moves, and
`NativeStencilGradient` serves training.
"""

from predecoder.native.fallback import native_or_none
from predecoder.inference.native_int8 import NativeIntegerNetwork
from predecoder.native.library import NativeUnavailableError, load_library
from predecoder.native.matching import Matched, NativeMatching
from predecoder.inference.native_float32 import NativeNetwork
from predecoder.native.residual import NativeResidual
from predecoder.native.stencil_gradient import NativeStencilGradient
from predecoder.inference.native_volumes import NativeVolumes

__all__ = [
    "Matched",
    "NativeIntegerNetwork",
    "NativeMatching",
    "NativeNetwork",
    "NativeResidual",
    "NativeStencilGradient",
    "NativeUnavailableError",
    "NativeVolumes",
    "load_library",
    "native_or_none",
]
