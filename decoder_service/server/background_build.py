"""What is built for a stream while it runs: the rest of its decoder, and the model of a RELOAD."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from decoder_service.protocol import Frame, Reload
from decoder_service.server.server_stream import ServerStream
from decoder_service.server.services import Services


class BackgroundBuild:
    """Has it built in the builder's thread, which others use in between.

    Args:
        services: of the worker.
        say: sends frames of a stream when there is no frame of the client to answer.
    """

    def __init__(self, services: Services, *, say: Callable[[list[Frame]], None]) -> None:
        self._services = services
        self._say = say

    def complete(self, server_stream: ServerStream) -> None:
        """Has the rest of its decoder built step by step: others may have something built in between."""
        if server_stream.completing or server_stream.ended:
            return
        server_stream.completing = True
        self._services.later(
            server_stream.decoder.complete,
            lambda more, error: self._completed(server_stream, bool(more), error),
        )

    def reload(self, server_stream: ServerStream, reload: Reload) -> list[Frame]:
        """Has a model built, to take over at a window boundary; the answer, if it is refused at once."""
        replies = server_stream.session.request_reload(reload)
        if replies:
            return replies
        self._services.later(
            lambda: self._prepare(server_stream, reload),
            lambda prepared, error: self._prepared(server_stream, prepared, error),
        )
        return []

    def _completed(self, server_stream: ServerStream, more: bool, error: BaseException | None) -> None:
        server_stream.completing = False
        if error is not None:  # what is missing is built when it is needed
            self._services.event("not completed", stream=server_stream.session.stream, reason=str(error))
        elif more:
            self.complete(server_stream)

    def _prepare(self, server_stream: ServerStream, reload: Reload) -> Any:
        if server_stream.ended:
            return None
        return server_stream.decoder.prepare(
            self._services.models.text(reload.model), reload.kind, separate_process=True
        )

    def _prepared(self, server_stream: ServerStream, prepared: Any, error: BaseException | None) -> None:
        if server_stream.ended:  # its number may be that of another stream by now
            return
        if error is not None:
            self._services.event("reload rejected", stream=server_stream.session.stream, reason=str(error))
            self._say(server_stream.session.reload_failed(str(error)))
            return
        server_stream.prepared = prepared
        server_stream.session.reload_prepared()
        self.complete(server_stream)
