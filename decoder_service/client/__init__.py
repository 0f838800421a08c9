"""The Python client of the decoder service, and an open-loop load that measures one.

    DecoderClient            a session; `open` gives a ClientStream, whose StreamOutputs come back
    ServiceError             what the server refused; DisconnectedError, a lost connection
    StreamShape              rounds and widths of a stream's shots
    run_load, LoadReport     rounds at a fixed rate, with latencies from when they were due

Only the protocol is needed here: neither Stim nor PyMatching is imported.
"""

from decoder_service.client.client import DecoderClient
from decoder_service.client.errors import DisconnectedError, ServiceError
from decoder_service.client.load import LoadReport, run_load
from decoder_service.client.stream import ClientStream, StreamOutput
from decoder_service.session import StreamShape

__all__ = [
    "ClientStream",
    "DecoderClient",
    "DisconnectedError",
    "LoadReport",
    "ServiceError",
    "StreamOutput",
    "StreamShape",
    "run_load",
]
