"""The streaming decoder service: rounds in, corrections out. The protocol's page is PROTOCOL.md.

In process, without a server: `StreamDecoder`, its `Commit` and `Result`.
A server: `Front(ServerConfig(worker=WorkerConfig(state=...), unix=...))`; from a shell, `qecpipe serve`.
A client: `DecoderClient`, its `ClientStream` and `StreamOutput`; `ServiceError`, `DisconnectedError`.

Names are imported when they are first used, so that a client loads neither Stim nor PyMatching.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decoder_service.client import (
        ClientStream,
        DecoderClient,
        DisconnectedError,
        ServiceError,
        StreamOutput,
    )
    from decoder_service.commits import Commit, Result
    from decoder_service.server import Front, ServerConfig, TcpAddress, TlsFiles, WorkerConfig
    from decoder_service.stream_decoder import StreamDecoder

__all__ = [
    "ClientStream",
    "Commit",
    "DecoderClient",
    "DisconnectedError",
    "Front",
    "Result",
    "ServerConfig",
    "ServiceError",
    "StreamDecoder",
    "StreamOutput",
    "TcpAddress",
    "TlsFiles",
    "WorkerConfig",
]

_CLIENT = ("ClientStream", "DecoderClient", "DisconnectedError", "ServiceError", "StreamOutput")
_SERVER = ("Front", "ServerConfig", "TcpAddress", "TlsFiles", "WorkerConfig")
_HOME = {
    **dict.fromkeys(_CLIENT, "decoder_service.client"),
    **dict.fromkeys(_SERVER, "decoder_service.server"),
    "Commit": "decoder_service.commits",
    "Result": "decoder_service.commits",
    "StreamDecoder": "decoder_service.stream_decoder",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
