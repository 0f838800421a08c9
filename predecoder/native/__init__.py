"""Inner loops in C++, of the extension module `_qecpipe`.

A leaf: it knows arrays and moves, and neither networks nor layouts. `NativeResidual` applies moves. The
networks' engines are in `predecoder.inference`, matchings in `global_decoders.matching`.
"""

from predecoder.native.residual import NativeResidual

__all__ = ["NativeResidual"]
