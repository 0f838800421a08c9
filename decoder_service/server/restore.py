"""From a journal back to frames: the check that a run can be repeated, and the stream after a crash."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from decoder_service.protocol import (
    Flag,
    Frame,
    FrameType,
    Open,
    Opened,
    Reload,
    block_rows,
    decode_commit,
    decode_message,
    split_block,
    without_times,
)
from decoder_service.server.decoding import RoundDecoder
from decoder_service.server.journal import (
    Journal,
    Segment,
    SegmentContent,
    put_away,
    read_segment,
    segments,
)
from decoder_service.server.models import UnknownModelError
from decoder_service.server.server_stream import ServerStream
from decoder_service.server.state import StateFolder, set_aside
from decoder_service.session import (
    KEPT_OUTPUTS,
    OrderingConfig,
    Row,
    Skip,
    StreamSession,
    Swap,
    erased_round,
)

OUTPUTS = (FrameType.COMMIT, FrameType.RESULT)
ROWS = (FrameType.ROUNDS, FrameType.FINAL)
Build = Callable[[Open, str], RoundDecoder]


class ReplayError(ValueError):
    """A journal that does not lead to the frames recorded in it, or that cannot be read."""


class Replayer:
    """Feeds the records of a segment to a decoder again.

    Args:
        head: OPEN and OPENED.
        build: makes the decoder.
        models: text of a model by its digest, or None.
    """

    def __init__(
        self, head: Sequence[Frame], *, build: Build, models: Callable[[str], str | None], gap_deadline: int
    ) -> None:
        options = decode_message(head[0].payload, Open)
        opened = decode_message(head[1].payload, Opened)
        self._models = models
        decoder = build(options, self._text(options.model))
        config = OrderingConfig(window=opened.window, gap_deadline=gap_deadline, on_gap=options.on_gap)
        session = StreamSession(
            head[0].stream,
            decoder.shape,
            config,
            model=options.model,
            model_id=decoder.model_id,
            start=(opened.epoch, 0),
            outputs=opened.outputs,
        )
        self.stream = ServerStream(session, options, decoder, segment_bytes=0)
        self._refused: Row | None = None
        self._conflict = False

    def apply(self, record: Frame) -> list[Frame]:
        """The outputs that this record led to."""
        if record.type in ROWS:
            return self._decode(record)
        if record.type == FrameType.RESET:
            self._refused = None
            synthetic = bool(record.flags & Flag.SYNTHETIC)
            return self._skip(
                Skip(record.sequence, record.epoch, record.payload.decode(), asked=not synthetic)
            )
        if record.type == FrameType.RELOAD:
            reload = decode_message(record.payload, Reload)
            prepared = self.stream.decoder.prepare(
                self._text(reload.model), reload.kind, separate_process=False
            )
            self.stream.adopt(Swap(record.epoch, record.sequence, reload.model, reload.kind), prepared)
        return []

    def pass_over(self, records: Sequence[Frame]) -> None:
        """Takes over place and model of shots that are over, without decoding; not their outputs."""
        session = self.stream.session
        reload: Frame | None = None
        for record in records:
            reload = record if record.type == FrameType.RELOAD else reload
            over = record.epoch + (record.type == FrameType.RESULT)
            if record.type in (FrameType.RESET, FrameType.RELOAD, *ROWS, *OUTPUTS):
                session.ordering.done(Skip(over, over, "", asked=True))
        if reload is not None:
            self.apply(reload)

    def outputs_of(self, rows: Sequence[Frame]) -> int:
        """How many outputs these rows of one shot led to, whatever was in those that are missing among them.

        When a window is committed does not depend on what is in it (with a pre-decoder it may).
        """
        shape, decode = self.stream.session.shape, self.stream.decode
        due, count = 0, 0
        try:
            for record in rows:
                for sequence in range(due, record.sequence):
                    count += len(decode(erased_round(shape, record.epoch, sequence, 0)))
                for row in self._rows(record):
                    count += len(decode(row))
                    due = row.sequence + 1
        except ValueError:  # a shot that the decoder refuses has no more outputs but its RESULT
            pass
        return count

    def abandon(self, epoch: int, outputs: int) -> list[Frame]:
        """Ends a shot that cannot go on, as FAILED: a RESET record and the RESULT, number `outputs`."""
        session = self.stream.session
        reason = "a record of its journal is damaged"
        if outputs != session.outputs:
            session.lose(outputs)
        reset = Frame(FrameType.RESET, session.stream, epoch + 1, epoch, reason.encode(), Flag.SYNTHETIC)
        return [reset, *self._skip(Skip(epoch, epoch + 1, reason, asked=False))]

    def finish(self) -> list[Frame]:
        """Outputs that a crash kept from being recorded, with the session ready to go on."""
        frames: list[Frame] = []
        if self._refused is not None:
            epoch = self._refused.epoch
            frames = self._skip(Skip(epoch, epoch + 1, "refused by the decoder", asked=False))
        self.stream.session.restart_ordering(conflict=self._conflict)
        self.stream.latencies.clear()
        return frames

    def _skip(self, skip: Skip) -> list[Frame]:
        frames = self.stream.session.skipped(skip, time.monotonic_ns())
        return [frame for frame in frames if frame.type == FrameType.RESULT]

    def _decode(self, record: Frame) -> list[Frame]:
        """The outputs of a block of rows, up to the first that the decoder refuses."""
        made: list[Frame] = []
        self._conflict = bool(record.flags & Flag.CONFLICT)
        for row in self._rows(record):
            try:
                outcomes = self.stream.decode(row)
            except ValueError:
                self._refused = row
                break
            made += self.stream.session.decoded(row, outcomes)
        return made

    def _rows(self, record: Frame) -> list[Row]:
        """Flags besides ERASED are those of every row of the block."""
        widths = self.stream.session.shape.widths(record.sequence, block_rows(record.payload))
        flags, now = record.flags & ~Flag.ERASED, time.monotonic_ns()
        return [
            Row(record.epoch, record.sequence + at, bits, flags | (Flag.ERASED if erased else 0), now)
            for at, (bits, erased) in enumerate(
                split_block(record.payload, widths=widths, flags=record.flags)
            )
        ]

    def _text(self, digest: str) -> str:
        text = self._models(digest)
        if text is None:
            raise UnknownModelError(f"the model {digest} is not stored any more")
        return text


def replay(
    path: Path, *, build: Build, models: Callable[[str], str | None]
) -> Iterator[tuple[list[Frame], list[Frame]]]:
    """Decodes a segment again: per record of input, the outputs recorded after it and those made now.

    Their times differ; `without_times` takes them off.

    Raises:
        ReplayError: the segment is damaged.
    """
    content = read_segment(path)
    if content.head is None or content.damage:
        raise ReplayError(f"{path}: {'; '.join(content.damage)}")
    replayer = Replayer(content.head, build=build, models=models, gap_deadline=1)
    made: list[Frame] = []
    recorded: list[Frame] = []
    for frame in content.records:
        if frame.type in OUTPUTS:
            recorded.append(frame)
            continue
        if made or recorded:
            yield recorded, made
        recorded, made = [], replayer.apply(frame)
    if made or recorded:
        yield recorded, made


class Restored(NamedTuple):
    """What became of a journal.

    Attributes:
        stream: as its journal left it; None if it is over, or lost.
        damage: what was found damaged, a line each, with the copy that was kept.
    """

    stream: ServerStream | None
    damage: list[str]


def restore(
    state: StateFolder,
    session: str,
    stream: int,
    *,
    build: Build,
    models: Callable[[str], str | None],
    gap_deadline: int,
    segment_bytes: int,
    keep: bool,
) -> Restored:
    """The last life of a stream as its journal left it; earlier ones are put away.

    Shots that are complete in the journal are not decoded again. A shot with a damaged record is abandoned;
    its RESULT is FAILED. Copies of damaged files are kept; nothing is repaired in place.

    Raises:
        ReplayError: the journal does not lead to its own frames, or nothing in it says what it is of; its
            files are set aside.
        ValueError, OSError: the model makes no decoder, or the journal cannot be read or continued.
    """
    found = segments(state.journals, session, stream)
    names = [name for name in found if name.generation == found[-1].generation]
    for name in found[: -len(names)]:
        put_away(state, name, keep=keep)
    try:
        life = _Life.read(state, names)
        if life.records and life.records[-1].type == FrameType.CLOSE:
            for name in names:
                put_away(state, name, keep=keep)
            return Restored(None, life.damage)
        replayer = Replayer(life.head, build=build, models=models, gap_deadline=gap_deadline)
        records = _continued(replayer, life, names[-1])
    except ReplayError as error:
        copies = [str(set_aside(name.path(state.journals), state.damaged)) for name in names]
        for name in names:
            put_away(state, name, keep=False)
        raise ReplayError(f"{error}; its files are now {', '.join(copies)}") from error
    journal = Journal(state, names[-1]._replace(number=names[-1].number + 1), records, keep=keep)
    journal.keep_older(life.older)
    replayer.stream.continue_journal(journal, segment_bytes=segment_bytes)
    return Restored(replayer.stream, life.damage)


def _continued(replayer: Replayer, life: _Life, name: Segment) -> list[Frame]:
    """Brings the stream to where its journal ends; what the segment that it goes on in begins with.

    Raises ReplayError where the journal contradicts itself.
    """
    session = replayer.stream.session
    start = _last_boundary(life.records)
    replayer.pass_over(life.records[:start])
    for frame in _without_holes([frame for frame in life.records[:start] if frame.type in OUTPUTS]):
        session.keep(frame)
    head = replayer.stream.head()
    records = life.records[start:]
    if any(start <= at < len(life.records) for at in life.missing):  # at its end, a crash cut it short
        records = _abandoned(replayer, records)
    else:
        records = [*records, *_again(replayer, records, name)]
    if life.damage:
        _check_model(replayer.stream, life.records)
    return [*head, *records]


class _Life(NamedTuple):
    """What is sound in the segments of a life that a resume may need, oldest first."""

    head: tuple[Frame, Frame]
    records: list[Frame]
    missing: list[int]
    older: list[tuple[Segment, int]]
    damage: list[str]

    @classmethod
    def read(cls, state: StateFolder, names: list[Segment]) -> _Life:
        """Reads, newest first, until there is a head and as many outputs as a client may ask for."""
        contents: list[tuple[Segment, SegmentContent]] = []
        damage: list[str] = []
        outputs = 0
        for name in reversed(names):
            content = read_segment(name.path(state.journals))
            contents.insert(0, (name, content))
            if content.damage:
                kept = set_aside(name.path(state.journals), state.damaged)
                damage.append(f"{name.path(state.journals).name}: {'; '.join(content.damage)}; copy: {kept}")
            outputs += sum(frame.type in OUTPUTS for frame in content.records)
            if outputs >= KEPT_OUTPUTS and any(content.head for _, content in contents):
                break
        heads = [content.head for _, content in contents if content.head is not None]
        if not heads:
            raise ReplayError(f"no head of its journal is sound: {'; '.join(damage)}")
        records: list[Frame] = []
        missing: list[int] = []
        older: list[tuple[Segment, int]] = []
        after = 0
        for name, content in contents:
            missing += [len(records) + at for at in content.missing]
            records += content.records
            after = max([after, *(f.sequence + 1 for f in content.records if f.type in OUTPUTS)])
            older.append((name, after))
        return cls(heads[0], records, missing, older, damage)


def _last_boundary(records: list[Frame]) -> int:
    """Index after the last record that surely ended a shot."""
    ends = (
        at + 1
        for at, frame in enumerate(records)
        if frame.type == FrameType.RESULT
        or (frame.type == FrameType.RESET and not frame.flags & Flag.SYNTHETIC)
    )
    return max(ends, default=0)


def _without_holes(outputs: list[Frame]) -> list[Frame]:
    """The last outputs whose numbers follow one another."""
    start = 0
    for at in range(1, len(outputs)):
        if outputs[at].sequence != outputs[at - 1].sequence + 1:
            start = at
    return outputs[start:]


def _again(replayer: Replayer, records: list[Frame], name: Segment) -> list[Frame]:
    """Decodes the shot that goes on; the outputs that are not recorded.

    Raises ReplayError where others are recorded.
    """
    recorded = [record for record in records if record.type in OUTPUTS]
    made: list[Frame] = []
    for record in records:
        if record.type not in OUTPUTS:
            made += replayer.apply(record)
    made += replayer.finish()
    if list(map(without_times, recorded)) != list(map(without_times, made[: len(recorded)])):
        raise ReplayError(f"{name}: decoding it again gives other frames than it records")
    return made[len(recorded) :]


def _abandoned(replayer: Replayer, records: list[Frame]) -> list[Frame]:
    """The records of the last shot, which lack some, with a RESET and RESULT that end it."""
    session = replayer.stream.session
    epoch = first = session.shape.place(session.ordering.decoded)[0]
    for record in records:  # a RESET that the server made names the shot it ends in its sequence
        epoch = max(epoch, record.sequence if record.type == FrameType.RESET else record.epoch)
    rows = [record for record in records if record.type in ROWS and record.epoch == epoch]
    outputs = [record for record in records if record.type in OUTPUTS]
    count = max([session.outputs, *(output.sequence + 1 for output in outputs)])
    if epoch == first:  # else the number of its first output is not known
        count = max(count, session.outputs + replayer.outputs_of(rows))
    replayer.pass_over([record for record in records if record.type == FrameType.RELOAD])
    for frame in _without_holes(outputs):
        session.keep(frame)
    ended = replayer.abandon(epoch, count)
    replayer.finish()
    return [*records, *ended]


def _check_model(server_stream: ServerStream, records: list[Frame]) -> None:
    """Raises ReplayError if outputs name another model than the stream would go on with."""
    of_model = (*OUTPUTS, FrameType.RELOAD)
    named = [frame for frame in records if frame.type in of_model and not frame.flags & Flag.FAILED]
    reloads = [frame.epoch for frame in named if frame.type == FrameType.RELOAD]
    if not named or named[-1].type == FrameType.RELOAD or named[-1].epoch in reloads:
        return  # windows of the shot in which a model takes over are decoded by either
    model = decode_commit(named[-1].payload).model
    if model != server_stream.session.model_id:
        raise ReplayError(f"a RELOAD is lost: outputs are of model {model.hex()}")
