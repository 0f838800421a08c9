"""A stream in a worker: session, decoder and journal, still without sockets."""

from __future__ import annotations

import time
from typing import Any

from decoder_service.protocol import (
    Flag,
    Frame,
    FrameType,
    Open,
    Opened,
    Reload,
    encode_block,
    encode_message,
)
from decoder_service.server.decoding import RoundDecoder
from decoder_service.server.density import DensityMeter
from decoder_service.server.journal import Journal
from decoder_service.server.state import StateFolder
from decoder_service.session import Outcome, Row, Skip, StreamSession, Swap

_RECORDED = 0xFFFF & ~int(Flag.RESENT)


class ServerStream:
    """Works off what the session has put in order.

    Args:
        session: of the stream.
        options: of its OPEN.
        decoder: warm.
        segment_bytes: a segment is ended at the first shot boundary past this size.
    """

    def __init__(
        self,
        session: StreamSession,
        options: Open,
        decoder: RoundDecoder,
        *,
        segment_bytes: int,
    ) -> None:
        self.session = session
        self.options = options
        self.decoder = decoder
        self.journal: Journal | None = None
        """None to keep none."""
        self.prepared: Any = None
        """The model that a Swap will adopt."""
        self.latencies: list[tuple[int, int, int]] = []
        """(arrived, taken, decoded) in ns of the rows since they were last taken."""
        self.reloaded: Reload | None = None
        """The last model that took over, if it is not that of `options`."""
        self.completing = False
        """More of its decoder is being built."""
        self.ended = False
        """Closed; nothing more is to be built for it."""
        self._segment_bytes = segment_bytes
        self._model_since = time.monotonic_ns()
        width = max(session.shape.layers)[1]  # of the longest run of rounds
        measured = options.kind == "circuit" and options.input == "measurements"
        self.density = DensityMeter(width, differences=measured)

    def head(self) -> list[Frame]:
        """OPEN, OPENED, as a segment begins with them, and the RELOAD that still holds."""
        session = self.session
        epoch, sequence = session.shape.place(session.ordering.decoded)
        opened = Opened(
            model=session.model,
            model_id=session.model_id.hex(),
            rounds=session.shape.rounds,
            layers=list(session.shape.layers),
            final_bits=session.shape.final_bits,
            num_observables=session.shape.num_observables,
            window=session.ordering.config.window,
            epoch=epoch,
            sequence=sequence,
            outputs=session.outputs,
            gap_deadline_ns=session.ordering.config.gap_deadline,
        )
        return [
            Frame(FrameType.OPEN, session.stream, epoch, payload=encode_message(self.options)),
            Frame(FrameType.OPENED, session.stream, epoch, sequence, encode_message(opened)),
            *([] if self.reloaded is None else [_reload_record(self.reloaded, session.stream, epoch, 0)]),
        ]

    def begin_journal(self, state: StateFolder, session: str, *, keep: bool) -> None:
        """Begins the journal of this life of the stream. Raises JournalError; nothing is left then."""
        life = Journal.next_life(state, session, self.session.stream)
        self.journal = Journal(state, life, self.head(), keep=keep)

    def model_age(self) -> float:
        """Seconds since the model took over."""
        return (time.monotonic_ns() - self._model_since) / 1e9

    def continue_journal(self, journal: Journal, *, segment_bytes: int) -> None:
        """Goes on with a journal after a crash."""
        self.journal, self._segment_bytes = journal, segment_bytes

    def work(self, time_slice: int) -> list[Frame]:
        """What is ready done, for `time_slice` ns or one item; the frames to send, which are in the journal.

        Raises:
            JournalError: the frames must not be sent, and the stream cannot go on.
        """
        out: list[Frame] = []
        if not self.session.has_work:
            return out
        until = time.monotonic_ns() + time_slice
        while (item := self.session.take()) is not None:
            if isinstance(item, Row):
                out += self.row(item)
            elif isinstance(item, Skip):
                out += self._skip(item)
            else:
                out += self._swap(item)
            if time.monotonic_ns() >= until:
                break
        self.flush()
        return out

    def row(self, row: Row) -> list[Frame]:
        """Decodes a row; its outputs."""
        taken = time.monotonic_ns()
        self._note(_recorded(row, self.session))
        try:
            outcomes = self.decode(row)
        except ValueError as error:
            self.session.failed(row, str(error))
            return []
        self.latencies.append((row.arrived, taken, time.monotonic_ns()))
        self.density.count(row)
        frames = self.session.decoded(row, outcomes)
        self._note(*frames)
        if row.sequence == self.session.shape.rounds:
            self._boundary()
        return frames

    def decode(self, row: Row) -> list[Outcome]:
        """Raises ValueError where the decoder refuses the row."""
        if row.sequence == 0:
            self.decoder.open(row.epoch)
        if row.sequence == self.session.shape.rounds:
            return self.decoder.finish(row.bits, row.arrived)
        return self.decoder.push(row.sequence, row.bits, row.erased, row.arrived)

    def close(self, *, over: bool) -> None:
        """Ends the journal: with CLOSE if the stream is `over`, else so that it can be restored."""
        self.ended = True
        self.decoder.close()
        if self.journal is None:
            return
        try:
            if over:
                self._note(Frame(FrameType.CLOSE, self.session.stream))
                self.flush()
        finally:
            self.journal.end() if over else self.journal.close()

    def flush(self) -> None:
        """Writes what was noted. Raises JournalError."""
        if self.journal is not None:
            self.journal.flush()

    def _skip(self, skip: Skip) -> list[Frame]:
        flags = 0 if skip.asked else Flag.SYNTHETIC
        reason = skip.reason.encode()[:1000]
        self._note(Frame(FrameType.RESET, self.session.stream, skip.next_epoch, skip.epoch, reason, flags))
        frames = self.session.skipped(skip, time.monotonic_ns())
        self._note(*(frame for frame in frames if frame.type == FrameType.RESULT))
        return frames

    def _swap(self, swap: Swap) -> list[Frame]:
        prepared, self.prepared = self.prepared, None
        reload = Reload(swap.model, swap.kind)
        self._note(_reload_record(reload, self.session.stream, swap.epoch, swap.at_round))
        return self.adopt(swap, prepared)

    def adopt(self, swap: Swap, prepared: Any) -> list[Frame]:
        """Decodes with a prepared model from here on; the answer to RELOAD."""
        self.reloaded = Reload(swap.model, swap.kind)
        self._model_since = time.monotonic_ns()
        self.decoder.adopt(prepared, swap.at_round)
        return self.session.swapped(swap, self.decoder.model_id)

    def _boundary(self) -> None:
        if self.journal is not None and self.journal.size > self._segment_bytes:
            self.journal.rotate(self.session.outputs, self.head())

    def _note(self, *frames: Frame) -> None:
        if self.journal is not None:
            for frame in frames:
                self.journal.add(frame)


def _reload_record(reload: Reload, stream: int, epoch: int, at_round: int) -> Frame:
    return Frame(FrameType.RELOAD, stream, epoch, at_round, encode_message(reload))


def _recorded(row: Row, session: StreamSession) -> Frame:
    final = row.sequence == session.shape.rounds
    kind = FrameType.FINAL if final else FrameType.ROUNDS
    payload = encode_block([row.bits], [True] if row.erased else None)
    return Frame(kind, session.stream, row.epoch, row.sequence, payload, row.flags & _RECORDED)
