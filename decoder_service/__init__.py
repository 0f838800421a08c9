"""The streaming decoder service: rounds in, corrections out. The wire protocol: docs/protocol.md.

In process, without a server: `StreamDecoder`, its `Commit` and `Result`.
A server: `ServerFrontEnd(ServerConfig(worker=WorkerConfig(state=...), unix=...))`, or `qecpipe serve`.
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
    from decoder_service.server import (
        BuildLimits,
        ServerConfig,
        ServerFrontEnd,
        TcpAddress,
        TlsFiles,
        WorkerConfig,
    )
    from decoder_service.streaming import Commit, Result, StreamDecoder

__all__ = [
    "BuildLimits",
    "ClientStream",
    "Commit",
    "DecoderClient",
    "DisconnectedError",
    "Result",
    "ServerConfig",
    "ServerFrontEnd",
    "ServiceError",
    "StreamDecoder",
    "StreamOutput",
    "TcpAddress",
    "TlsFiles",
    "WorkerConfig",
]

_CLIENT = ("ClientStream", "DecoderClient", "DisconnectedError", "ServiceError", "StreamOutput")
_SERVER = ("BuildLimits", "ServerFrontEnd", "ServerConfig", "TcpAddress", "TlsFiles", "WorkerConfig")
_HOME = {
    **dict.fromkeys(_CLIENT, "decoder_service.client"),
    **dict.fromkeys(_SERVER, "decoder_service.server"),
    "Commit": "decoder_service.streaming",
    "Result": "decoder_service.streaming",
    "StreamDecoder": "decoder_service.streaming",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
