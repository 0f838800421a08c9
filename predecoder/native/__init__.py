"""Inner loops in C++, compiled at first use; where that fails, callers go on in Python.

A leaf: it knows arrays, and neither networks nor layouts. `load_library` compiles and loads a source of this
folder, `NativeUnavailableError` says why it could not, and `native_or_none` turns that into a message in the
log. `NativeMatching` explains shots by matchings on logits, `NativeResidual` applies moves, and
`NativeStencilGradient` serves training. The engines' sources are here too; their bindings are in
`predecoder.inference`.
"""

from predecoder.native.fallback import native_or_none
from predecoder.native.library import NativeUnavailableError, load_library
from predecoder.native.matching import Matched, NativeMatching
from predecoder.native.residual import NativeResidual
from predecoder.native.stencil_gradient import NativeStencilGradient

__all__ = [
    "Matched",
    "NativeMatching",
    "NativeResidual",
    "NativeStencilGradient",
    "NativeUnavailableError",
    "load_library",
    "native_or_none",
]
