"""What the native session writes into a journal, and what becomes of a stream whose journal fails."""

from __future__ import annotations

import fcntl
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

import _qecpipe
from decoder_service.protocol import (
    Flag,
    Frame,
    FrameType,
    decode_commit,
    encode_block,
    encode_frame,
    split_block,
)

from .native_sessions import MODEL, OUTPUTS, SHAPE, block, frames, opened, parity, work


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    path = tmp_path / "segment"
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"head")
    yield fd, path
    os.close(fd)


def test_the_journal_has_rows_before_outputs_and_all_of_both(journal: tuple[int, Path]) -> None:
    fd, path = journal
    session = _qecpipe.Session()
    opened(session, parity(), journal_fd=fd, journal_size=4)
    session.feed(block(0, 0, 3) + block(0, 3, 2, erased=(4,)) + block(0, 5, 2) + block(1, 0, 1))
    work(session)
    session.feed(encode_frame(Frame(FrameType.RESET, 0, 5)))
    work(session)
    data = path.read_bytes()
    assert data[:4] == b"head"
    records = frames(data[4:])
    sent = [frame for frame in frames(session.take_output()) if frame.type in OUTPUTS]
    assert [frame for frame in records if frame.type in OUTPUTS] == sent
    decoded: dict[tuple[int, int], bool] = {}
    for record in records:
        if record.type in OUTPUTS:
            after = decode_commit(record.payload).after
            assert (record.epoch, after) in decoded, "its row comes before an output"
        elif record.type == FrameType.RESET:
            assert (record.epoch, record.sequence, record.flags, record.payload) == (5, 1, 0, b"RESET")
        else:
            count = int.from_bytes(record.payload[:2], "little")
            rows = split_block(
                record.payload, widths=SHAPE.widths(record.sequence, count), flags=record.flags
            )
            for at, (_, erased) in enumerate(rows):
                decoded[record.epoch, record.sequence + at] = erased
    assert decoded == {(0, at): at == 4 for at in range(7)} | {(1, 0): False}


def test_a_lost_round_is_recorded_as_what_it_was_decoded_as(journal: tuple[int, Path]) -> None:
    fd, path = journal
    session = _qecpipe.Session(manual_clock=True)
    opened(session, parity(), journal_fd=fd, journal_size=4, gap_deadline_ns=10)
    session.feed(block(0, 0, 2) + block(0, 3, 4))
    session.now = 100
    session.tick()
    work(session)
    records = [frame for frame in frames(path.read_bytes()[4:]) if frame.type not in OUTPUTS]
    rows = [(frame.sequence, frame.payload[0], Flag(frame.flags)) for frame in records]
    assert rows == [
        (0, 2, Flag(0)),
        (2, 1, Flag.ERASED | Flag.DEGRADED | Flag.SYNTHETIC),
        (3, 4, Flag.DEGRADED),
    ]


def test_a_refused_row_is_the_last_of_its_record(journal: tuple[int, Path]) -> None:
    fd, path = journal
    session = _qecpipe.Session()
    opened(session, parity(refuse=(4 * 5 + 1) % 16), journal_fd=fd, journal_size=4)
    session.feed(block(0, 0, 7))
    work(session)
    records = [frame for frame in frames(path.read_bytes()[4:]) if frame.type not in OUTPUTS]
    assert [(f.type, f.sequence, f.payload[0]) for f in records[:1]] == [(FrameType.ROUNDS, 0, 5)]
    assert (records[1].type, records[1].payload, Flag(records[1].flags)) == (
        FrameType.RESET,
        b"refused",
        Flag.SYNTHETIC,
    )


def test_a_full_segment_is_said_at_a_shot_boundary_and_another_goes_on(
    journal: tuple[int, Path], tmp_path: Path
) -> None:
    fd, path = journal
    session = _qecpipe.Session()
    opened(session, parity(), journal_fd=fd, journal_size=4, segment_bytes=10)
    session.feed(block(0, 0, 7) + block(1, 0, 7))
    session.work()
    assert [type(event) for event in session.take_events()] == [_qecpipe.JournalDue]
    assert session.place(0) == (1, 0)
    other = os.open(tmp_path / "other", os.O_CREAT | os.O_WRONLY)
    session.continue_journal(0, other, 0)
    work(session)
    os.close(other)
    assert {frame.epoch for frame in frames((tmp_path / "other").read_bytes())} == {1}
    assert {frame.epoch for frame in frames(path.read_bytes()[4:])} == {0}


def test_a_model_that_took_over_is_said_before_the_segment_that_it_filled(journal: tuple[int, Path]) -> None:
    """In one slice: the next segment once began with the model before, and without the RELOAD."""
    fd, path = journal
    session = _qecpipe.Session(manual_clock=True)
    decoder = parity()
    opened(session, decoder, journal_fd=fd, journal_size=4, segment_bytes=10)
    decoder.prepare(b"\xcd" * 8)
    session.swap(0, "cd" * 32, "dem")
    session.feed(block(0, 0, 7))
    assert not session.work()
    swapped, due = session.take_events()
    assert isinstance(swapped, _qecpipe.Swapped)
    assert isinstance(due, _qecpipe.JournalDue)
    assert (swapped.stream, due.stream, session.place(0)) == (0, 0, (1, 0))
    kinds = [frame.type for frame in frames(path.read_bytes()[4:]) if frame.type not in OUTPUTS]
    assert kinds == [FrameType.RELOAD, FrameType.FINAL]


def test_a_journal_that_fails_takes_its_stream_and_nothing_is_sent() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    session = _qecpipe.Session()
    opened(session, parity(), journal_fd=fd, journal_size=0)
    opened(session, parity(), stream=1)
    session.feed(block(0, 0, 7))
    work(session)
    (event,) = session.take_events()
    assert isinstance(event, _qecpipe.JournalFailed)
    assert (event.stream, event.reason) == (0, "journal: No space left on device")
    assert session.streams == [1]
    assert session.take_output() == b""
    os.close(fd)


def test_a_journal_that_is_cut_short_ends_with_a_whole_record(journal: tuple[int, Path]) -> None:
    """Every size that the disk may have: what is in the file is what was sent, with its rows."""
    fd, path = journal
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for room in range(0, 420, 7):
        os.ftruncate(fd, 4)
        session = _qecpipe.Session()
        opened(session, parity(), journal_fd=fd, journal_size=4)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 + room, before[1]))
        try:
            for at in range(7):
                session.feed(block(0, at, 1))
                work(session)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        (event,) = session.take_events()
        assert isinstance(event, _qecpipe.JournalFailed)
        assert (event.stream, event.reason) == (0, "journal: File too large")
        sent = [frame for frame in frames(session.take_output()) if frame.type in OUTPUTS]
        assert [frame for frame in frames(path.read_bytes()[4:]) if frame.type in OUTPUTS] == sent


def test_a_journal_that_cannot_be_cut_says_what_stays() -> None:
    """A pipe takes a part of a record, and gives nothing back."""
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 4096)
    session = _qecpipe.Session()
    decoder = _qecpipe.ParityDecoder(
        layers=[(2, 8 * 6000)], final_bits=8, num_observables=8, commit=2, model=MODEL
    )
    session.open(
        0, decoder, layers=[(2, 8 * 6000)], final_bits=8, num_observables=8, commit=2, window=64,
        gap_deadline_ns=10**9, journal_fd=theirs, journal_size=0,
    )  # fmt: skip
    session.feed(encode_frame(Frame(FrameType.ROUNDS, 0, 0, 0, encode_block([bytes(6000)]))))
    work(session)
    (event,) = session.take_events()
    assert isinstance(event, _qecpipe.JournalFailed)
    assert event.reason == (
        "journal: Resource temporarily unavailable; its last 4096 bytes are no whole record, and stay: "
        "Illegal seek"
    )
    os.close(ours)
    os.close(theirs)
