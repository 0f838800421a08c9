"""Decoding a stream of rounds in this process: no sockets, no threads, no clock but the one given.

    StreamDecoder(circuit_or_dem, commit=, buffer=)   `open` a shot, `push` its rounds, `finish`
    Commit, Result, Flag                              what it gives back
    StreamModel, SerializedModel                      a warm model, and the same as bytes for another process
    PreparedStream                                    the same of a whole decoder: `StreamDecoder.of`
    check_fits(old, new)                              whether a running stream may go on with another model
    round_dem(circuit)                                the error model of a circuit, round by round

What windows do with the rounds is in `global_decoders.windows`.
"""

from decoder_service.streaming.commits import Commit, Flag, Result
from decoder_service.streaming.model import StreamModel
from decoder_service.streaming.prepared import PreparedStream
from decoder_service.streaming.reload import check_fits
from decoder_service.streaming.rounds import round_dem
from decoder_service.streaming.serialized_model import SerializedModel
from decoder_service.streaming.stream_decoder import StreamDecoder

__all__ = [
    "Commit",
    "Flag",
    "PreparedStream",
    "Result",
    "SerializedModel",
    "StreamDecoder",
    "StreamModel",
    "check_fits",
    "round_dem",
]
