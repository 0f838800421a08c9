"""The Python client of the decoder service."""

from decoder_service.client.client import DecoderClient
from decoder_service.client.errors import DisconnectedError, ServiceError
from decoder_service.client.stream import ClientStream, StreamOutput
from decoder_service.session import StreamShape

__all__ = [
    "ClientStream",
    "DecoderClient",
    "DisconnectedError",
    "ServiceError",
    "StreamOutput",
    "StreamShape",
]
