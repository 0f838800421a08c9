"""From a journal back to frames: the check that a run can be repeated, and the stream after a crash."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from decoder_service.protocol import (
    Flag,
    Frame,
    FrameType,
    Open,
    Opened,
    Reload,
    decode_message,
    split_block,
    without_times,
)
from decoder_service.server.decoding import RoundDecoder
from decoder_service.server.journal import Journal, read_frames, read_to_continue, segments
from decoder_service.server.server_stream import ServerStream
from decoder_service.session import KEPT_OUTPUTS, OrderingConfig, Row, Skip, StreamSession, Swap

OUTPUTS = (FrameType.COMMIT, FrameType.RESULT)
Build = Callable[[Open, str], RoundDecoder]


class ReplayError(ValueError):
    """A journal that does not lead to the frames recorded in it, or that cannot be read."""


class Replayer:
    """Feeds the records of one segment to a decoder again.

    Args:
        head: the segment's OPEN and OPENED.
        build: makes the decoder.
        models: text of a model by its digest, or None.
    """

    def __init__(
        self, head: Sequence[Frame], *, build: Build, models: Callable[[str], str | None], gap_deadline: int
    ) -> None:
        kinds = [frame.type for frame in head[:2]]
        if kinds != [FrameType.OPEN, FrameType.OPENED]:
            raise ReplayError(f"a journal begins with OPEN, OPENED, not {[kind.name for kind in kinds]}")
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
        self.stream = ServerStream(session, options, decoder, None, segment_bytes=0)
        self._refused: Row | None = None
        self._conflict = False

    def apply(self, record: Frame) -> list[Frame]:
        """The outputs that this record led to."""
        session = self.stream.session
        if record.type in (FrameType.ROUNDS, FrameType.FINAL):
            return self._row(record)
        if record.type == FrameType.RESET:
            self._refused = None
            synthetic = bool(record.flags & Flag.SYNTHETIC)
            skip = Skip(record.sequence, record.epoch, record.payload.decode(), asked=not synthetic)
            frames = session.skipped(skip, time.monotonic_ns())
            return [frame for frame in frames if frame.type == FrameType.RESULT]
        if record.type == FrameType.RELOAD:
            reload = decode_message(record.payload, Reload)
            prepared = self.stream.decoder.prepare(
                self._text(reload.model), reload.kind, separate_process=False
            )
            self.stream.adopt(Swap(record.epoch, record.sequence, reload.model, reload.kind), prepared)
        return []

    def finish(self) -> list[Frame]:
        """Outputs that a crash kept from being recorded, with the session ready to go on."""
        frames: list[Frame] = []
        if self._refused is not None:
            epoch = self._refused.epoch
            skip = Skip(epoch, epoch + 1, "refused by the decoder", asked=False)
            frames = self.stream.session.skipped(skip, time.monotonic_ns())
        self.stream.session.restart_ordering(conflict=self._conflict)
        self.stream.latencies.clear()
        return [frame for frame in frames if frame.type in OUTPUTS]

    def _row(self, record: Frame) -> list[Frame]:
        shape = self.stream.session.shape
        widths = shape.widths(record.sequence, 1)
        ((bits, _),) = split_block(record.payload, widths=widths, flags=record.flags)
        row = Row(record.epoch, record.sequence, bits, record.flags, time.monotonic_ns())
        self._conflict = bool(record.flags & Flag.CONFLICT)
        try:
            outcomes = self.stream.decode(row)
        except ValueError:
            self._refused = row
            return []
        return self.stream.session.decoded(row, outcomes)

    def _text(self, digest: str) -> str:
        text = self._models(digest)
        if text is None:
            raise ReplayError(f"the model {digest} is not in the store any more")
        return text


def replay(
    path: Path, *, build: Build, models: Callable[[str], str | None]
) -> Iterator[tuple[list[Frame], list[Frame]]]:
    """Decodes a segment again: per record of input, the outputs recorded after it and those made now.

    Their times differ; `wire.without_times` takes them off.
    """
    frames = list(read_frames(path))
    replayer = Replayer(frames[:2], build=build, models=models, gap_deadline=1)
    made: list[Frame] = []
    recorded: list[Frame] = []
    for frame in frames[2:]:
        if frame.type in OUTPUTS:
            recorded.append(frame)
            continue
        if made or recorded:
            yield recorded, made
        recorded, made = [], replayer.apply(frame)
    if made or recorded:
        yield recorded, made


def restore(
    folder: Path,
    session: str,
    stream: int,
    *,
    build: Build,
    models: Callable[[str], str | None],
    gap_deadline: int,
    segment_bytes: int,
    prune: bool,
) -> ServerStream | None:
    """The stream as its journal left it, None if it was closed.

    Shots that are complete in the journal are not decoded again.

    Raises:
        ReplayError: the journal does not lead to its own frames.
        ValueError, OSError: the model makes no decoder, or the journal cannot be read or continued.
    """
    *before, path = segments(folder, session, stream)
    frames = read_to_continue(path)
    if len(frames) < 2 and before:  # the crash came while it was begun
        path.unlink()
        *before, path = before
        frames = read_to_continue(path)
    if frames and frames[-1].type == FrameType.CLOSE:
        return None
    replayer = Replayer(frames[:2], build=build, models=models, gap_deadline=gap_deadline)
    server_stream = replayer.stream
    older = _keep_older(before, server_stream.session)
    start = _last_boundary(frames)
    _pass_over(frames[2:start], replayer)
    recorded: list[Frame] = []
    made: list[Frame] = []
    for frame in frames[start:]:
        if frame.type in OUTPUTS:
            recorded.append(frame)
        else:
            made += replayer.apply(frame)
    made += replayer.finish()
    if list(map(without_times, recorded)) != list(map(without_times, made[: len(recorded)])):
        raise ReplayError(f"{path.name}: decoding it again gives other frames than it records")
    segment = int(path.name.split(".")[1])
    journal = Journal(folder, session, stream, segment=segment, prune=prune)
    journal.keep_older(older)
    server_stream.continue_journal(journal, made[len(recorded) :], segment_bytes=segment_bytes)
    return server_stream


def _keep_older(paths: list[Path], session: StreamSession) -> list[tuple[Path, int]]:
    """Takes outputs that a client may still ask for from segments before the one that goes on.

    Returns the segments they are in, each with the number of the first output after it.
    """
    found: list[tuple[Path, list[Frame]]] = []
    stop = session.outputs
    while paths and session.outputs - stop < KEPT_OUTPUTS:
        outputs = [frame for frame in read_frames(paths[-1]) if frame.type in OUTPUTS]
        found.append((paths.pop(), outputs))
        stop = outputs[0].sequence if outputs else stop
    found.reverse()
    kept: list[tuple[Path, int]] = []
    after = stop
    for path, outputs in found:
        for frame in outputs:
            session.keep(frame)
            after = frame.sequence + 1
        kept.append((path, after))
    return kept


def _last_boundary(frames: list[Frame]) -> int:
    """Index after the last record that surely ended a shot."""
    ends = (
        at + 1
        for at, frame in enumerate(frames)
        if frame.type == FrameType.RESULT
        or (frame.type == FrameType.RESET and not frame.flags & Flag.SYNTHETIC)
    )
    return max(ends, default=2)


def _pass_over(frames: list[Frame], replayer: Replayer) -> None:
    """Takes over outputs, place and model of shots that are complete, without decoding."""
    session = replayer.stream.session
    reload: Frame | None = None
    for frame in frames:
        if frame.type in OUTPUTS:
            session.keep(frame)
        reload = frame if frame.type == FrameType.RELOAD else reload
        if frame.type in (FrameType.RESULT, FrameType.RESET):
            ended = frame.type == FrameType.RESULT
            epoch = frame.epoch + ended
            session.ordering.done(Skip(epoch, epoch, "", asked=True))
    if reload is not None:
        replayer.apply(reload)
