"""Segment files of journals: names, heads, and what is sound in one. Their records: `journal`."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from decoder_service.protocol import (
    Frame,
    FrameParser,
    FrameType,
    Limits,
    Open,
    Opened,
    PayloadError,
    Reload,
    WireFault,
    decode_message,
    encode_message,
)
from decoder_service.session import RoundDecoder
from decoder_service.store.folder import StateFolder

SUFFIX = ".qdj"
FORMAT = 2
"""Of the files, as their heads say."""
HEAD = (FrameType.HELLO, FrameType.OPEN, FrameType.OPENED)
_CHUNK = 1 << 23
_LIMITS = Limits(round_bytes=1 << 24, control_bytes=1 << 24, upload_bytes=1 << 24, garbage_bytes=1 << 62)
_NAME = re.compile(rf"([0-9a-f]{{32}})-(\d+)\.(\d+)\.(\d+){re.escape(SUFFIX)}")


class JournalHead(msgspec.Struct, frozen=True):
    """Which segment of which life of which stream a file is."""

    session: str
    stream: int
    generation: int
    segment: int
    format: int = FORMAT


class Segment(NamedTuple):
    """A segment file; they sort by stream and age.

    Attributes:
        session: 32 hexadecimal digits, `stream` its number in the session.
        generation: of the stream's lives.
        number: of the segment in its life.
    """

    session: str
    stream: int
    generation: int
    number: int

    def path(self, folder: Path) -> Path:
        """Where it is."""
        return folder / f"{self.session}-{self.stream}.{self.generation:06d}.{self.number:06d}{SUFFIX}"

    def head(self) -> Frame:
        """The first record."""
        return Frame(FrameType.HELLO, self.stream, payload=encode_message(JournalHead(*self)))

    @classmethod
    def named(cls, name: str) -> Segment | None:
        """Of a file with this name, None if that is no segment's."""
        found = _NAME.fullmatch(name)
        return None if found is None else cls(found[1], *(int(number) for number in found.groups()[1:]))


def segments(folder: Path, session: str, stream: int | None = None) -> list[Segment]:
    """The segments of a session, or of one of its streams, oldest first."""
    names = (Segment.named(path.name) for path in folder.glob(f"{session}-*{SUFFIX}"))
    return sorted(name for name in names if name is not None and stream in (None, name.stream))


def put_away(state: StateFolder, segment: Segment, *, keep: bool) -> None:
    """Takes a segment that no resume needs out of the journals: into the archive, or away."""
    path = segment.path(state.journals)
    with contextlib.suppress(FileNotFoundError):  # it could not be made, or was deleted by hand
        if keep:
            state.archive.mkdir(mode=0o700, exist_ok=True)
            path.replace(segment.path(state.archive))
        else:
            path.unlink()


class Position(NamedTuple):
    """How far a stream has come: the first row that is not decoded, and the outputs so far."""

    epoch: int
    sequence: int
    outputs: int


class StreamHead(NamedTuple):
    """What a stream is, as OPENED says it to its client and a segment to whoever reads it.

    Attributes:
        number: in its session.
        options: of its OPEN.
        window: rows in flight, and `gap_deadline` in ns.
        reloaded: the last model that took over, if it is not that of `options`.
    """

    number: int
    options: Open
    window: int
    gap_deadline: int
    reloaded: Reload | None = None

    @property
    def models(self) -> set[str]:
        """Digests of those that the stream needs, also after a restart."""
        return {self.options.model} | ({self.reloaded.model} if self.reloaded else set())

    def opened(self, decoder: RoundDecoder, position: Position) -> Frame:
        """The answer to OPEN."""
        shape = decoder.shape
        epoch, sequence, outputs = position
        message = Opened(
            model=self.options.model if self.reloaded is None else self.reloaded.model,
            model_id=decoder.model_id.hex(),
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

    def records(self, decoder: RoundDecoder, position: Position) -> list[Frame]:
        """OPEN and OPENED, as a segment begins with them, and the RELOAD that still holds."""
        epoch = position.epoch
        frames = [
            Frame(FrameType.OPEN, self.number, epoch, payload=encode_message(self.options)),
            self.opened(decoder, position),
        ]
        if self.reloaded is not None:
            frames.append(Frame(FrameType.RELOAD, self.number, epoch, payload=encode_message(self.reloaded)))
        return frames


class SegmentContent(NamedTuple):
    """What is sound in a segment.

    Attributes:
        head: OPEN and OPENED; None if both copies of one of them are damaged.
        records: the sound ones after the head.
        missing: places in `records` before which something is damaged, or behind which the file is torn.
        damage: what is wrong, in words; empty for a sound file.
        torn: what is at the end that is no whole record, in words, as a crash within an append leaves it.
    """

    head: tuple[Frame, Frame] | None
    records: list[Frame]
    missing: list[int]
    damage: list[str]
    torn: str = ""


def read_segment(path: Path) -> SegmentContent:
    """Reads what is sound; the file is left as it is.

    Raises:
        OSError: it cannot be read.
    """
    segment = Segment.named(path.name)
    found: dict[FrameType, Frame] = {}
    records: list[Frame] = []
    missing: list[int] = []
    damage: list[str] = []
    torn = ""
    for item in _items(path):
        if not isinstance(item, Frame):
            missing.append(len(records))
            if isinstance(item, int):
                torn = f"{item} bytes at the end are no whole record"
            else:
                damage.append(item.detail)
        elif item.type in HEAD:
            if item.type is FrameType.HELLO and (segment is None or item.payload != segment.head().payload):
                return SegmentContent(None, [], [0], [f"the head is of another journal: {_named(item)}"])
            found.setdefault(item.type, item)
        elif item.type is not FrameType.RELOAD or not records or records[-1] != item:
            records.append(item)
    lost = [kind.name for kind in HEAD if kind not in found]
    if lost:
        damage.append(f"no sound {' and '.join(lost)} in its head")
    head = None if lost else (found[FrameType.OPEN], found[FrameType.OPENED])
    return SegmentContent(head, records, missing, damage, torn)


def _named(frame: Frame) -> str:
    try:
        return str(decode_message(frame.payload, JournalHead))
    except PayloadError as error:
        return str(error)


def _items(path: Path) -> Iterable[Frame | WireFault | int]:
    """Sound frames, what is wrong between them, and how many bytes there are of a record without an end."""
    parser = FrameParser(limits=_LIMITS)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield from parser.feed(chunk)
            if parser.closed:
                parser = FrameParser(limits=_LIMITS)  # behind a header that says something impossible
    if parser.buffered:
        yield parser.buffered
