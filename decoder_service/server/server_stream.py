"""What the control plane knows of an open stream; its rows are the data plane's (`_qecpipe.Session`)."""

from __future__ import annotations

import dataclasses
import time
from typing import NamedTuple

from _qecpipe import PythonDecoder, StreamRowDecoder
from decoder_service.protocol import Frame, FrameType, Open, Opened, Reload, encode_message
from decoder_service.server.decoding import ServedDecoder
from decoder_service.server.journal import Journal
from decoder_service.streaming import StreamModel


class Position(NamedTuple):
    """How far a stream has come: the first row that is not decoded, and the outputs so far."""

    epoch: int
    sequence: int
    outputs: int


@dataclasses.dataclass
class ServerStream:
    """A stream from its OPEN to its CLOSE.

    Attributes:
        number: in its session.
        options: of its OPEN.
        decoder: warm.
        window: rows in flight, and `gap_deadline` in ns.
        reloaded: the last model that took over, if it is not that of `options`.
        journal: open, or None before it is begun.
        wanted: the model of a RELOAD that is not finished.
    """

    number: int
    options: Open
    decoder: ServedDecoder
    window: int
    gap_deadline: int
    reloaded: Reload | None = None
    journal: Journal | None = None
    wanted: Reload | None = None
    model_since: float = dataclasses.field(default_factory=time.monotonic)
    native: StreamRowDecoder | PythonDecoder = dataclasses.field(init=False)
    sampled_until: int = 0
    """Rounds that `sampled` rows were taken of."""
    _prepared: bytes = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.native = self.decoder.row_decoder()
        self._prepared = self.decoder.model_id

    @property
    def sampled(self) -> bool:
        """Whether rows do not come by `decoder`, so that its densities are to be given some."""
        return isinstance(self.native, StreamRowDecoder)

    def prepare(self, model: StreamModel) -> None:
        """The model takes over at the next swap; `swapped` follows."""
        self._prepared = bytes.fromhex(model.id)
        if isinstance(self.native, StreamRowDecoder):
            self.decoder.inner.expect(model)
            self.native.prepare(model.native)
        else:
            self.native.prepare(model)

    def swapped(self) -> None:
        """What was prepared has taken over."""
        self.reloaded, self.wanted = self.wanted, None
        self.model_since = time.monotonic()
        self.decoder.adopted(self._prepared)

    def build_missing(self) -> None:
        """Builds the window that the stream is blocked by, or gives its shot up."""
        assert isinstance(self.native, StreamRowDecoder), "a decoder in Python builds what it needs"
        try:
            self.decoder.inner.build_missing()
        except ValueError as error:
            self.native.give_up(str(error))

    def opened(self, position: Position) -> Frame:
        """The answer to OPEN."""
        shape = self.decoder.shape
        epoch, sequence, outputs = position
        message = Opened(
            model=self.options.model if self.reloaded is None else self.reloaded.model,
            model_id=self.decoder.model_id.hex(),
            rounds=shape.rounds,
            layers=list(shape.layers),
            final_bits=shape.final_bits,
            num_observables=shape.num_observables,
            window=self.window,
            epoch=epoch,
            sequence=sequence,
            outputs=outputs,
            gap_deadline_ns=self.gap_deadline,
        )
        return Frame(FrameType.OPENED, self.number, epoch, sequence, encode_message(message))

    def head(self, position: Position) -> list[Frame]:
        """OPEN, OPENED, as a segment of the journal begins with them, and the RELOAD that still holds."""
        epoch = position.epoch
        frames = [
            Frame(FrameType.OPEN, self.number, epoch, payload=encode_message(self.options)),
            self.opened(position),
        ]
        if self.reloaded is not None:
            frames.append(Frame(FrameType.RELOAD, self.number, epoch, payload=encode_message(self.reloaded)))
        return frames
