"""Global decoders behind one registry of names.

Every decoder is a picklable `sinter.Decoder`; what it compiles to takes and returns bit-packed
shots (uint8, little-endian bits, as in Stim's b8). `pymatching` and `pymatching-correlated` are
always there, the others where their package is installed (`pip install 'qecpipe[decoders]'`).

    decoder_names()      every registered name, installed or not
    make_decoder(name)   the decoder of that name
    is_available(name)   whether `make_decoder(name)` will succeed
"""

from global_decoders.registry import (
    MissingDecoderError,
    UnknownDecoderError,
    decoder_names,
    is_available,
    make_decoder,
)

__all__ = [
    "MissingDecoderError",
    "UnknownDecoderError",
    "decoder_names",
    "is_available",
    "make_decoder",
]
