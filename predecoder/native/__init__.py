"""Inner loops in C++, of the extension module `_qecpipe`.

A leaf: it knows arrays and moves, and neither networks nor layouts. `NativeMatching` explains shots by
matchings on logits, `NativeResidual` applies moves. The networks' engines are in `predecoder.inference`.
"""

from predecoder.native.matching import Matched, NativeMatching
from predecoder.native.residual import NativeResidual

__all__ = [
    "Matched",
    "NativeMatching",
    "NativeResidual",
]
