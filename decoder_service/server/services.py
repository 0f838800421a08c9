"""What the sessions of a worker use of it, and how they say that something went wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from decoder_service.protocol import Error, ErrorCode, Frame, FrameType, Open, Scope, encode_message
from decoder_service.server.config import WorkerConfig
from decoder_service.server.decoding import RoundDecoder
from decoder_service.server.models import ModelStore, UploadBudget
from decoder_service.server.server_stream import ServerStream


@dataclasses.dataclass(frozen=True)
class Services:
    """What a session uses of its worker.

    Args:
        config: of the worker.
        models: texts by digest, and `uploads` the memory for those that are not complete.
        build: makes a decoder; slow.
        later: runs the first function in the builder's thread, then the second, in the loop, with its
            result and its error, one of which is None.
        opened: told of a stream that began, and `closed` of one that is over.
        event: writes a line to the log, with fields.
    """

    config: WorkerConfig
    models: ModelStore
    uploads: UploadBudget
    build: Callable[[Open, str], RoundDecoder]
    later: Callable[[Callable[[], Any], Callable[[Any, BaseException | None], None]], None]
    opened: Callable[[str, ServerStream], None]
    closed: Callable[[str, ServerStream], None]
    event: Callable[..., None]


def error_frame(stream: int, code: ErrorCode, scope: Scope, message: str) -> Frame:
    """An ERROR about a stream, or, with stream 0 and scope connection, about all."""
    return Frame(FrameType.ERROR, stream, payload=encode_message(Error(code, scope, message[:1000])))
