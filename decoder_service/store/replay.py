"""Feeding a journal's records to a decoder again: the same rows lead to the same outputs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from decoder_service.protocol import (
    Flag,
    Frame,
    FrameType,
    Open,
    Opened,
    Reload,
    block_rows,
    decode_message,
    split_block,
)
from decoder_service.session import (
    OrderingConfig,
    Outcome,
    RoundDecoder,
    Row,
    Skip,
    StreamSession,
    Swap,
    erased_round,
)
from decoder_service.store.segment import read_segment

OUTPUTS = (FrameType.COMMIT, FrameType.RESULT)
ROWS = (FrameType.ROUNDS, FrameType.FINAL)


Decoder = TypeVar("Decoder", bound=RoundDecoder)


class Sources(Protocol[Decoder]):
    """Where decoders and their models come from; a ValueError says why one cannot be made."""

    def decoder(self, options: Open) -> Decoder:
        """Of a stream that is opened so."""
        ...

    def model(self, options: Open, current: Reload | None, reload: Reload, decoder: Decoder) -> Any:
        """What takes over from `current`, for `decoder.adopt`."""
        ...


class ReplayError(ValueError):
    """A journal that does not lead to the frames recorded in it, or that cannot be read."""


class Replayer(Generic[Decoder]):
    """Decodes the records of a journal, with the reference of the session's semantics.

    Args:
        head: OPEN and OPENED.
        sources: of the decoder and its models.
    """

    def __init__(self, head: Sequence[Frame], *, sources: Sources[Decoder]) -> None:
        self.options = decode_message(head[0].payload, Open)
        self.opened = decode_message(head[1].payload, Opened)
        self.reloaded: Reload | None = None
        self.conflict = False
        """The last row had the flag CONFLICT."""
        self._sources = sources
        self.decoder = sources.decoder(self.options)
        config = OrderingConfig(window=self.opened.window, gap_deadline=1, on_gap=self.options.on_gap)
        self.session = StreamSession(
            head[0].stream,
            self.decoder.shape,
            config,
            model=self.options.model,
            model_id=self.decoder.model_id,
            start=(self.opened.epoch, 0),
            outputs=self.opened.outputs,
        )
        self._refused: Row | None = None

    @property
    def place(self) -> tuple[int, int]:
        """The first row that is not decoded."""
        return self.session.shape.place(self.session.ordering.decoded)

    def apply(self, record: Frame) -> list[Frame]:
        """The outputs that this record led to."""
        if record.type in ROWS:
            return self._decode(record)
        if record.type == FrameType.RESET:
            self._refused = None
            asked = not record.flags & Flag.SYNTHETIC
            return self._skip(Skip(record.sequence, record.epoch, record.payload.decode(), asked=asked))
        if record.type == FrameType.RELOAD:
            reload = decode_message(record.payload, Reload)
            model = self._sources.model(self.options, self.reloaded, reload, self.decoder)
            self.decoder.adopt(model, record.sequence)
            self.reloaded = reload
            swap = Swap(record.epoch, record.sequence, reload.model, reload.kind)
            self.session.swapped(swap, self.decoder.model_id)
        return []

    def pass_over(self, records: Sequence[Frame]) -> None:
        """Takes over place and model of shots that are over, without decoding; not their outputs."""
        reload: Frame | None = None
        for record in records:
            reload = record if record.type == FrameType.RELOAD else reload
            over = record.epoch + (record.type == FrameType.RESULT)
            if record.type in (FrameType.RESET, FrameType.RELOAD, *ROWS, *OUTPUTS):
                self.session.ordering.done(Skip(over, over, "", asked=True))
        if reload is not None:
            self.apply(reload)

    def outputs_of(self, rows: Sequence[Frame]) -> int:
        """How many outputs these rows of one shot led to, whatever was in those that are missing among them.

        When a window is committed does not depend on what is in it (with a pre-decoder it may).
        """
        shape = self.session.shape
        due, count = 0, 0
        try:
            for record in rows:
                for sequence in range(due, record.sequence):
                    count += len(self._outcomes(erased_round(shape, record.epoch, sequence, 0)))
                for row in self._rows(record):
                    count += len(self._outcomes(row))
                    due = row.sequence + 1
        except ValueError:  # a shot that the decoder refuses has no more outputs but its RESULT
            pass
        return count

    def abandon(self, epoch: int, outputs: int) -> list[Frame]:
        """Ends a shot that cannot go on, as FAILED: a RESET record and the RESULT, number `outputs`."""
        session = self.session
        reason = "a record of its journal is damaged"
        if outputs != session.outputs:
            session.lose(outputs)
        self._refused = None
        reset = Frame(FrameType.RESET, session.stream, epoch + 1, epoch, reason.encode(), Flag.SYNTHETIC)
        return [reset, *self._skip(Skip(epoch, epoch + 1, reason, asked=False))]

    def finish(self) -> list[Frame]:
        """Outputs that a crash kept from being recorded."""
        if self._refused is None:
            return []
        epoch = self._refused.epoch
        return self._skip(Skip(epoch, epoch + 1, "refused by the decoder", asked=False))

    def _skip(self, skip: Skip) -> list[Frame]:
        frames = self.session.skipped(skip, time.monotonic_ns())
        return [frame for frame in frames if frame.type == FrameType.RESULT]

    def _decode(self, record: Frame) -> list[Frame]:
        """The outputs of a block of rows, up to the first that the decoder refuses."""
        made: list[Frame] = []
        self.conflict = bool(record.flags & Flag.CONFLICT)
        for row in self._rows(record):
            try:
                outcomes = self._outcomes(row)
            except ValueError:
                self._refused = row
                break
            made += self.session.decoded(row, outcomes)
        return made

    def _outcomes(self, row: Row) -> list[Outcome]:
        """Raises ValueError where the decoder refuses the row."""
        if row.sequence == 0:
            self.decoder.open(row.epoch)
        if row.sequence == self.session.shape.rounds:
            return self.decoder.finish(row.bits, row.arrived)
        return self.decoder.push(row.sequence, row.bits, row.erased, row.arrived)

    def _rows(self, record: Frame) -> list[Row]:
        """Flags besides ERASED are those of every row of the block."""
        widths = self.session.shape.widths(record.sequence, block_rows(record.payload))
        flags, now = record.flags & ~Flag.ERASED, time.monotonic_ns()
        return [
            Row(record.epoch, record.sequence + at, bits, flags | (Flag.ERASED if erased else 0), now)
            for at, (bits, erased) in enumerate(
                split_block(record.payload, widths=widths, flags=record.flags)
            )
        ]


class Replayed(NamedTuple):
    """A segment that is decoded again.

    Attributes:
        outputs: per record of input, the outputs recorded after it and those made now (when this is
            read). Their times differ; `without_times` takes them off.
        torn: what the file ends with that is no whole record, in words; empty for a whole file.
    """

    outputs: Iterator[tuple[list[Frame], list[Frame]]]
    torn: str


def replay(path: Path, *, sources: Sources[Any]) -> Replayed:
    """Decodes a segment again, up to its end, or to the record that it is torn in.

    Raises:
        ReplayError: the segment is damaged elsewhere than at its end.
    """
    content = read_segment(path)
    if content.head is None or content.damage:
        raise ReplayError(f"{path}: {'; '.join(content.damage)}")
    return Replayed(_replayed(Replayer(content.head, sources=sources), content.records), content.torn)


def _replayed(replayer: Replayer[Any], records: list[Frame]) -> Iterator[tuple[list[Frame], list[Frame]]]:
    made: list[Frame] = []
    recorded: list[Frame] = []
    for frame in records:
        if frame.type in OUTPUTS:
            recorded.append(frame)
            continue
        if made or recorded:
            yield recorded, made
        recorded, made = [], replayer.apply(frame)
    if made or recorded:
        yield recorded, made
