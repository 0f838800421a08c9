"""The Python client of the decoder service."""

from decoder_service.client.client import DecoderClient, DisconnectedError
from decoder_service.client.stream import ClientStream, ServiceError, StreamOutput
from decoder_service.session import StreamShape

__all__ = [
    "ClientStream",
    "DecoderClient",
    "DisconnectedError",
    "ServiceError",
    "StreamOutput",
    "StreamShape",
]
