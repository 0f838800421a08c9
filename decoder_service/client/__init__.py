"""The Python client of the decoder service. An open-loop load that measures one: `decoder_service.load`.

    DecoderClient            a session; `open` gives a ClientStream, whose StreamOutputs come back
    ServiceError             what the server refused; DisconnectedError, a lost connection
    StreamShape              rounds and widths of a stream's shots

Only the protocol is needed here: neither Stim nor PyMatching is imported.
"""

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
