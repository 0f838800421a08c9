"""A CNN that removes local errors before a global decoder sees the syndrome.

Torch is imported where a network is built or run, not by importing this package.
"""

from predecoder.decoder import CompiledPredecoded, PredecodedDecoder, PredecoderMisfitWarning
from predecoder.weights import (
    WeightsError,
    WeightsFile,
    load_network,
    resolve_weights,
    save_weights,
    shipped_weights,
)

__all__ = [
    "CompiledPredecoded",
    "PredecodedDecoder",
    "PredecoderMisfitWarning",
    "WeightsError",
    "WeightsFile",
    "load_network",
    "resolve_weights",
    "save_weights",
    "shipped_weights",
]
