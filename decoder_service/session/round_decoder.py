"""What decodes the rows of a stream."""

from __future__ import annotations

from typing import Any, Protocol

from decoder_service.session.outputs import Outcome
from decoder_service.session.shape import StreamShape


class RoundDecoder(Protocol):
    """What a stream asks of a decoder. A ValueError of any method fails the shot, not the stream."""

    shape: StreamShape

    @property
    def model_id(self) -> bytes:
        """8 bytes that name the model of new windows."""
        ...

    def open(self, epoch: int) -> None:
        """Begins a shot, whatever state the one before was in."""
        ...

    def push(self, sequence: int, bits: bytes, erased: bool, arrived: int) -> list[Outcome]:
        """A round, packed LSB-first."""
        ...

    def finish(self, bits: bytes, arrived: int) -> list[Outcome]:
        """The last row of the shot; the last outcome is the result."""
        ...

    def adopt(self, prepared: Any, at_round: int) -> None:
        """Decodes windows that commit from `at_round` on with a model that was prepared."""
        ...
