"""A stream from its OPEN to its CLOSE, as the control plane knows it; its rows are the data plane's."""

from __future__ import annotations

import dataclasses
import time

from _qecpipe import PythonDecoder, Session, StreamRowDecoder
from decoder_service.building import ServedDecoder
from decoder_service.protocol import Frame, FrameType, Open, Reload, packed_bytes
from decoder_service.server.config import WorkerConfig
from decoder_service.server.metrics import StreamMeter, StreamSample
from decoder_service.store import Journal, Position, StreamHead
from decoder_service.streaming import StreamModel

WINDOW_BYTES = 1 << 24
"""Rows in flight, at most; as many again are kept to compare others with, several times."""
COUNT_BYTES = 2
"""Of a block, before its rows."""


@dataclasses.dataclass
class ServerStream:
    """A stream from its OPEN to its CLOSE, with a decoder, a journal, and its place in the data plane.

    Attributes:
        head: its number, options and model.
        decoder: warm.
        journal: open.
        plane: has its rows, once `join` gave them to it.
        wanted: the model of a RELOAD that is not finished.
    """

    head: StreamHead
    decoder: ServedDecoder
    journal: Journal
    plane: Session
    wanted: Reload | None = None
    model_since: float = dataclasses.field(default_factory=time.monotonic)
    native: StreamRowDecoder | PythonDecoder = dataclasses.field(init=False)
    meter: StreamMeter = dataclasses.field(init=False, repr=False)
    _prepared: bytes = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.native = self.decoder.row_decoder()
        self._prepared = self.decoder.model_id

    @classmethod
    def begun(
        cls,
        session: str,
        number: int,
        options: Open,
        decoder: ServedDecoder,
        plane: Session,
        config: WorkerConfig,
    ) -> ServerStream:
        """A stream that is opened.

        Raises:
            ValueError: its rows fit into no frame.
            OSError: its journal cannot be made.
        """
        shape = decoder.shape
        row = packed_bytes(max(shape.final_bits, *(bits for _, bits in shape.layers)))
        if row > config.limits.round_bytes - COUNT_BYTES:
            raise ValueError(f"a round has {row} bytes, and a frame at most {config.limits.round_bytes}")
        window = min(config.window, max(1, WINDOW_BYTES // max(1, row)))
        head = StreamHead(number, options, window, round(config.gap_deadline * 1e9))
        life = Journal.next_life(config.folder, session, number)
        records = head.records(decoder, Position(0, 0, 0))
        return cls(head, decoder, Journal(config.folder, life, records, keep=not config.prune), plane)

    @property
    def number(self) -> int:
        """In its session."""
        return self.head.number

    @property
    def position(self) -> Position:
        """How far it has come."""
        return Position(*self.plane.place(self.number), self.plane.outputs(self.number))

    def join(self, position: Position, *, segment_bytes: int) -> None:
        """Gives its rows to the data plane, from this place on."""
        shape = self.decoder.shape
        self.meter = StreamMeter(
            self.number,
            window=self.head.window,
            bits=max(shape.layers)[1],  # of the longest run of rounds
            compared=self.decoder.inner.models.setup.rounds_compared,
        )
        self.plane.open(
            self.number,
            self.native,
            layers=list(shape.layers),
            final_bits=shape.final_bits,
            num_observables=shape.num_observables,
            commit=shape.commit,
            window=self.head.window,
            gap_deadline_ns=self.head.gap_deadline,
            erase=self.head.options.on_gap == "erase",
            segment_bytes=segment_bytes,
            journal_fd=self.journal.fd,
            journal_size=self.journal.size,
            place=(position.epoch, position.sequence),
            outputs=position.outputs,
        )

    def opened(self) -> Frame:
        """The answer to OPEN, from here on."""
        return self.head.opened(self.decoder, self.position)

    def described(self) -> dict[str, str | int]:
        """What the log says of it."""
        inner = self.decoder.inner
        said: dict[str, str | int] = {
            "stream": self.number,
            "model": self.decoder.model_id.hex(),
            "rounds": self.decoder.shape.rounds,
            "decoder": self.head.options.decoder,
        }
        if inner.device is not None:
            said["device"] = inner.device
        if inner.models.fell_back:
            from predecoder.inference import why_not_cuda

            said["why_no_gpu"] = str(why_not_cuda())
        return said

    def prepare(self, model: StreamModel) -> None:
        """The model takes over at the next swap; `swapped` follows."""
        self._prepared = bytes.fromhex(model.id)
        if isinstance(self.native, StreamRowDecoder):
            self.decoder.inner.models.expect(model)
            self.native.prepare(model.native)
        else:
            self.native.prepare(model)

    def swapped(self) -> None:
        """What was prepared has taken over."""
        self.head, self.wanted = self.head._replace(reloaded=self.wanted), None
        self.model_since = time.monotonic()
        self.decoder.adopted(self._prepared)

    def build_missing(self) -> None:
        """Builds the window that the stream is blocked by, or gives its shot up."""
        assert isinstance(self.native, StreamRowDecoder), "a decoder in Python builds what it needs"
        try:
            self.decoder.inner.models.build_missing()
        except ValueError as error:
            self.native.give_up(str(error))

    def rotate(self) -> None:
        """Goes on in a new segment of the journal. Raises JournalError: nothing can be recorded any more."""
        position = self.position
        self.journal.rotate(position.outputs, self.head.records(self.decoder, position))
        self.plane.continue_journal(self.number, self.journal.fd, self.journal.size)

    def leave(self, *, over: bool) -> None:
        """Takes its rows out of the data plane: for good, or so that it can be restored.

        Raises:
            OSError: its end could not be recorded, or the journal not put away; all the rest is done.
        """
        self.plane.close(self.number)
        if not over:
            self.journal.close()
            return
        try:
            self.journal.add(Frame(FrameType.CLOSE, self.number))
            self.journal.flush()
        finally:
            self.journal.end()

    def sample(self, *, connected: bool) -> StreamSample:
        """As it is now, for `meter`."""
        model_id, since = self.decoder.model_id, self.model_since
        return self.meter.sample(self.plane, model_id=model_id, model_since=since, connected=connected)
