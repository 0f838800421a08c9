"""What a stream's decoder is made of, as bytes: built in one process, used in another."""

from __future__ import annotations

import msgspec

from decoder_service.streaming.layer_source import Input
from decoder_service.streaming.rounds import RoundMap
from decoder_service.streaming.serialized_model import SerializedModel, array_of, plain

__all__ = ["PreparedStream"]


class PreparedStream(msgspec.Struct, frozen=True):
    """A `StreamDecoder` without its error model, for the windows' graphs are built; see `StreamDecoder.of`.

    Attributes:
        model: layers and graphs.
        rounds: how detectors follow from measurements; None where detectors are pushed.
        input: what is pushed.
        num_rounds: pushed in every shot; others may have windows without a graph.
    """

    model: SerializedModel
    rounds: RoundMap | None
    input: Input
    num_rounds: int

    def encode(self) -> bytes:
        """MessagePack."""
        return _ENCODER.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> PreparedStream:
        """Raises msgspec.ValidationError for anything else."""
        return _DECODER.decode(data)


_ENCODER = msgspec.msgpack.Encoder(enc_hook=plain)
_DECODER = msgspec.msgpack.Decoder(PreparedStream, dec_hook=array_of)
