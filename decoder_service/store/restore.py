"""A stream as its journal left it, after a crash or a restart of the server."""

from __future__ import annotations

from typing import Any, Generic, NamedTuple

from decoder_service.protocol import Flag, Frame, FrameType, Reload, decode_commit, without_times
from decoder_service.session import KEPT_OUTPUTS
from decoder_service.store.folder import StateFolder, set_aside
from decoder_service.store.journal import Journal
from decoder_service.store.replay import OUTPUTS, ROWS, Decoder, Replayer, ReplayError, Sources
from decoder_service.store.segment import (
    Position,
    Segment,
    SegmentContent,
    StreamHead,
    put_away,
    read_segment,
    segments,
)


class RestoredStream(NamedTuple, Generic[Decoder]):
    """A stream that goes on.

    Attributes:
        head: what it is.
        decoder: in the middle of a shot, if that is where the stream was.
        journal: in a new segment.
        position: where it goes on.
        kept: outputs that a client may ask for, oldest first.
        conflict: the shot that goes on had one.
    """

    head: StreamHead
    decoder: Decoder
    journal: Journal
    position: Position
    kept: list[Frame]
    conflict: bool


class Restored(NamedTuple, Generic[Decoder]):
    """What became of a journal.

    Attributes:
        stream: as its journal left it; None if it is over.
        damage: what was found damaged, a line each, with the copy that was kept.
    """

    stream: RestoredStream[Decoder] | None
    damage: list[str]


def restore(
    state: StateFolder,
    session: str,
    stream: int,
    *,
    sources: Sources[Decoder],
    gap_deadline: int,
    keep: bool,
) -> Restored[Decoder]:
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
        replayer = Replayer(life.head, sources=sources)
        continued = _continued(replayer, life, names[-1])
    except ReplayError as error:
        copies = [str(set_aside(name.path(state.journals), state.damaged)) for name in names]
        for name in names:
            put_away(state, name, keep=False)
        raise ReplayError(f"{error}; its files are now {', '.join(copies)}") from error
    head = StreamHead(stream, replayer.options, replayer.opened.window, gap_deadline, continued.reloaded)
    records = [*head.records(replayer.decoder, continued.begins), *continued.records]
    journal = Journal(state, names[-1]._replace(number=names[-1].number + 1), records, keep=keep)
    journal.keep_older(life.older)
    head = head._replace(reloaded=replayer.reloaded)
    position = Position(*replayer.place, replayer.session.outputs)
    kept = _without_holes([*life.before, *(f for f in continued.records if f.type in OUTPUTS)])
    kept = kept[-KEPT_OUTPUTS:] if not kept or kept[-1].sequence + 1 == position.outputs else []
    conflict = replayer.conflict and bool(position.sequence)
    restored = RestoredStream(head, replayer.decoder, journal, position, kept, conflict)
    return Restored(restored, life.damage)


class _Continued(NamedTuple):
    """What the segment that a stream goes on in begins with: where, with which model, and records."""

    begins: Position
    reloaded: Reload | None
    records: list[Frame]


def _continued(replayer: Replayer[Any], life: _Life, name: Segment) -> _Continued:
    """Brings the stream to where its journal ends.

    Raises ReplayError where the journal contradicts itself.
    """
    session = replayer.session
    start = life.boundary
    replayer.pass_over(life.records[:start])
    if life.before:
        session.lose(life.before[-1].sequence + 1)
    begins = Position(*replayer.place, session.outputs)
    reloaded = replayer.reloaded
    records = life.records[start:]
    if any(start <= at < len(life.records) for at in life.missing):  # at its end, a crash cut it short
        records = _abandoned(replayer, records)
    else:
        records = [*records, *_again(replayer, records, name)]
    if life.damage:
        _check_model(replayer, life.records)
    return _Continued(begins, reloaded, records)


class _Life(NamedTuple):
    """What is sound in the segments of a life that a resume may need, oldest first."""

    head: tuple[Frame, Frame]
    records: list[Frame]
    missing: list[int]
    older: list[tuple[Segment, int]]
    damage: list[str]

    @property
    def boundary(self) -> int:
        """Index after the last record that surely ended a shot."""
        return _boundary(self.records)

    @property
    def before(self) -> list[Frame]:
        """Outputs of shots that are over."""
        return [frame for frame in self.records[: self.boundary] if frame.type in OUTPUTS]

    @classmethod
    def read(cls, state: StateFolder, names: list[Segment]) -> _Life:
        """Reads, newest first, until there is a head and as many outputs as a client may ask for.

        A segment that a restore began repeats what was recorded of the shot that went on, so a segment's
        records of a shot that it does not end are not looked at once there is a later one.
        """
        contents: list[tuple[Segment, SegmentContent]] = []
        damage: list[str] = []
        numbers: set[int] = set()
        for name in reversed(names):
            content = read_segment(name.path(state.journals))
            contents.insert(0, (name, content))
            wrong = [*content.damage, *([content.torn] if content.torn else [])]
            if wrong:
                kept = set_aside(name.path(state.journals), state.damaged)
                damage.append(f"{name.path(state.journals).name}: {'; '.join(wrong)}; copy: {kept}")
            numbers |= {frame.sequence for frame in content.records if frame.type in OUTPUTS}
            if len(numbers) >= KEPT_OUTPUTS and any(content.head for _, content in contents):
                break
        heads = [content.head for _, content in contents if content.head is not None]
        if not heads:
            raise ReplayError(f"no head of its journal is sound: {'; '.join(damage)}")
        records: list[Frame] = []
        missing: list[int] = []
        older: list[tuple[Segment, int]] = []
        after = 0
        for name, content in contents:
            del records[(end := _boundary(records)) :]
            missing = [at for at in missing if at < end]
            missing += [len(records) + at for at in content.missing]
            records += content.records
            after = max([after, *(f.sequence + 1 for f in content.records if f.type in OUTPUTS)])
            older.append((name, after))
        return cls(heads[0], records, missing, older, damage)


def _boundary(records: list[Frame]) -> int:
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


def _again(replayer: Replayer[Any], records: list[Frame], name: Segment) -> list[Frame]:
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


def _abandoned(replayer: Replayer[Any], records: list[Frame]) -> list[Frame]:
    """The records of the last shot, which lack some, with a RESET and RESULT that end it."""
    session = replayer.session
    epoch = first = replayer.place[0]
    for record in records:  # a RESET that the server made names the shot it ends in its sequence
        epoch = max(epoch, record.sequence if record.type == FrameType.RESET else record.epoch)
    rows = [record for record in records if record.type in ROWS and record.epoch == epoch]
    outputs = [record for record in records if record.type in OUTPUTS]
    count = max([session.outputs, *(output.sequence + 1 for output in outputs)])
    if epoch == first:  # else the number of its first output is not known
        count = max(count, session.outputs + replayer.outputs_of(rows))
    replayer.pass_over([record for record in records if record.type == FrameType.RELOAD])
    return [*records, *replayer.abandon(epoch, count)]


def _check_model(replayer: Replayer[Any], records: list[Frame]) -> None:
    """Raises ReplayError if outputs name another model than the stream would go on with."""
    of_model = (*OUTPUTS, FrameType.RELOAD)
    named = [frame for frame in records if frame.type in of_model and not frame.flags & Flag.FAILED]
    reloads = [frame.epoch for frame in named if frame.type == FrameType.RELOAD]
    if not named or named[-1].type == FrameType.RELOAD or named[-1].epoch in reloads:
        return  # windows of the shot in which a model takes over are decoded by either
    model = decode_commit(named[-1].payload, flags=named[-1].flags).model
    if model != replayer.decoder.model_id:
        raise ReplayError(f"a RELOAD is lost: outputs are of model {model.hex()}")
