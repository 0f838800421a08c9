"""What is built for a stream while it runs: the rest of its decoder, and the model of a RELOAD."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from decoder_service.server.hosted import HostedStream
from decoder_service.server.services import Services
from decoder_service.wire import Frame, Reload


class Renewal:
    """Has it built in the builder's thread, where others have their turns.

    Args:
        services: of the worker.
        say: sends frames of a stream when there is no frame of the client to answer.
    """

    def __init__(self, services: Services, *, say: Callable[[list[Frame]], None]) -> None:
        self._services = services
        self._say = say

    def complete(self, hosted: HostedStream) -> None:
        """Has the rest of its decoder built step by step: others may have something built in between."""
        if hosted.completing or hosted.ended:
            return
        hosted.completing = True
        self._services.later(
            hosted.decoder.complete, lambda more, error: self._completed(hosted, bool(more), error)
        )

    def reload(self, hosted: HostedStream, reload: Reload) -> list[Frame]:
        """Has a model built, to take over at a window boundary; the answer, if it is refused at once."""
        replies = hosted.session.request_reload(reload)
        if replies:
            return replies
        self._services.later(
            lambda: self._prepare(hosted, reload),
            lambda prepared, error: self._prepared(hosted, prepared, error),
        )
        return []

    def _completed(self, hosted: HostedStream, more: bool, error: BaseException | None) -> None:
        hosted.completing = False
        if error is not None:  # what is missing is built when it is needed
            self._services.event("not completed", stream=hosted.session.stream, reason=str(error))
        elif more:
            self.complete(hosted)

    def _prepare(self, hosted: HostedStream, reload: Reload) -> Any:
        if hosted.ended:
            return None
        return hosted.decoder.prepare(self._services.models.text(reload.model), reload.kind, aside=True)

    def _prepared(self, hosted: HostedStream, prepared: Any, error: BaseException | None) -> None:
        if hosted.ended:  # its number may be that of another stream by now
            return
        if error is not None:
            self._services.event("reload rejected", stream=hosted.session.stream, reason=str(error))
            self._say(hosted.session.reload_failed(str(error)))
            return
        hosted.prepared = prepared
        hosted.session.reload_prepared()
        self.complete(hosted)
