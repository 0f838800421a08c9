"""What a client raises."""

from __future__ import annotations

from decoder_service.protocol import ErrorCode, Scope


class DisconnectedError(ConnectionError):
    """The connection is lost; `DecoderClient.reconnect` takes the session up again."""


class ServiceError(RuntimeError):
    """The server refused something; `code` says what."""

    def __init__(
        self, code: ErrorCode, message: str, *, scope: Scope = "frame", epoch: int = 0, sequence: int = 0
    ) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.scope = scope
        self.epoch = epoch
        self.sequence = sequence
