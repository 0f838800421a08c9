"""The native session beside its streams: journal, sockets, decoders in Python, and what ends a connection."""

from __future__ import annotations

import fcntl
import os
import resource
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import _qecpipe
from decoder_service.protocol import (
    Flag,
    Frame,
    FrameParser,
    FrameType,
    Hello,
    Limits,
    decode_commit,
    decode_credit,
    encode_block,
    encode_frame,
    encode_message,
    split_block,
    without_times,
)
from decoder_service.session import Outcome, StreamShape

SHAPE = StreamShape(layers=((1, 4), (5, 8)), final_bits=4, num_observables=8, commit=2)
WIDE: dict[str, Any] = {"layers": list(SHAPE.layers), "final_bits": 4, "num_observables": 8}
MODEL = b"\xab" * 8
OUTPUTS = (FrameType.COMMIT, FrameType.RESULT)


def parity(**options: Any) -> _qecpipe.ParityDecoder:
    return _qecpipe.ParityDecoder(**WIDE, commit=2, model=MODEL, **options)


def opened(session: _qecpipe.Session, decoder: _qecpipe.RowDecoder, stream: int = 0, **options: Any) -> None:
    given: dict[str, Any] = {"window": 64, "gap_deadline_ns": 10**9} | options
    session.open(stream, decoder, **WIDE, commit=2, **given)
    session.announce(stream)


def block(epoch: int, sequence: int, count: int, *, erased: tuple[int, ...] = ()) -> bytes:
    rows = [bytes([(epoch * 3 + at * 5 + 1) % 16]) for at in range(sequence, sequence + count)]
    flags = [at in erased for at in range(sequence, sequence + count)] if erased else None
    kind = FrameType.FINAL if sequence + count > SHAPE.rounds else FrameType.ROUNDS
    payload = encode_block(rows, flags)
    return encode_frame(Frame(kind, 0, epoch, sequence, payload, Flag.ERASED if erased else 0))


def work(session: _qecpipe.Session) -> None:
    while session.work():
        pass


def frames(data: bytes) -> list[Frame]:
    parser = FrameParser(limits=Limits(garbage_bytes=1 << 40))
    items = parser.feed(data)
    assert all(isinstance(item, Frame) for item in items)
    assert parser.buffered == 0
    return [item for item in items if isinstance(item, Frame)]


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


class Rows:
    """A decoder in Python that commits what it was given last."""

    model_id = MODEL

    def __init__(self) -> None:
        self.calls: list[tuple] = []

    def open(self, epoch: int) -> None:
        self.calls.append(("open", epoch))

    def push(self, sequence: int, bits: bytes, erased: bool, arrived: int) -> list[Outcome]:
        self.calls.append((sequence, bits, erased))
        if bits == b"\x0b":
            raise ValueError("eleven")
        return [Outcome(sequence + 1, bits, self.model_id, 0, 0, int(Flag.RELOADED))]

    def finish(self, bits: bytes, arrived: int) -> list[Outcome]:
        return [Outcome(6, bits, self.model_id, 0, 0, 0, b"\x01")]

    def adopt(self, prepared: object, at_round: int) -> None:
        self.calls.append((prepared, at_round))
        self.model_id = b"\xcd" * 8


def test_a_decoder_in_python_is_given_rows_and_swaps_at_boundaries() -> None:
    rows = Rows()
    session = _qecpipe.Session()
    decoder = _qecpipe.PythonDecoder(decoder=rows, **WIDE)
    opened(session, decoder)
    session.feed(block(0, 0, 3, erased=(1,)))
    work(session)
    assert rows.calls == [("open", 0), (0, b"\x01", False), (1, b"\0", True), (2, b"\x0b", False)]
    sent = frames(session.take_output())
    assert [frame.type.name for frame in sent] == ["COMMIT", "COMMIT", "ERROR", "RESULT"]
    decoder.prepare("model")
    session.swap(0, "cd" * 32, "dem")
    work(session)
    assert rows.calls[-1] == ("model", 0)
    (event,) = session.take_events()
    assert isinstance(event, _qecpipe.Swapped)
    assert (event.stream, event.model, event.kind, event.epoch, event.at_round) == (0, "cd" * 32, "dem", 1, 0)


def test_a_fault_of_a_decoder_is_raised_and_not_taken_for_a_refusal() -> None:
    class Broken(Rows):
        def push(self, sequence: int, bits: bytes, erased: bool, arrived: int) -> list[Outcome]:
            raise KeyError("ours")

    session = _qecpipe.Session()
    opened(session, _qecpipe.PythonDecoder(decoder=Broken(), **WIDE))
    session.feed(block(0, 0, 1))
    with pytest.raises(KeyError, match="ours"):
        session.work()


def serving(session: _qecpipe.Session, **options) -> tuple[socket.socket, threading.Thread, list[str]]:
    """A session on a socket pair, in a thread, until its first reason to return that is no timeout."""
    ours, theirs = socket.socketpair()
    reasons: list[str] = []

    def serve() -> None:
        with theirs:
            while not reasons or reasons[-1] == "timeout":
                reasons.append(session.serve(theirs.fileno(), timeout=0.05, **options))

    thread = threading.Thread(target=serve)
    thread.start()
    return ours, thread, reasons


def receive(sock: socket.socket, count: int) -> list[Frame]:
    """So many outputs, and what came with them."""
    parser, got = FrameParser(), []
    while sum(frame.type in OUTPUTS for frame in got) < count:
        data = sock.recv(65536)
        assert data
        got += parser.feed(data)
    return got


@pytest.mark.parametrize("busy_poll", [0.0, 0.001])
def test_served_on_a_socket_it_is_the_same_as_without(busy_poll: float) -> None:
    data = b"".join(block(epoch, at, 1) for epoch in range(50) for at in range(7))
    alone, served = _qecpipe.Session(), _qecpipe.Session()
    for session in (alone, served):
        opened(session, parity(), window=400)
    alone.feed(data)
    work(alone)
    expected = [without_times(f) for f in frames(alone.take_output()) if f.type in OUTPUTS]
    ours, thread, reasons = serving(served, busy_poll=busy_poll)
    with ours:
        for at in range(0, len(data), 100):
            ours.sendall(data[at : at + 100])
        got = receive(ours, len(expected))
    thread.join()
    assert [without_times(frame) for frame in got if frame.type in OUTPUTS] == expected
    assert reasons[-1] == "closed"


def test_control_frames_and_wake_ups_return_to_python() -> None:
    session = _qecpipe.Session()
    wake, waker = os.pipe()
    os.set_blocking(wake, False)
    ours, thread, reasons = serving(session, wake_fd=wake)
    hello = Frame(FrameType.HELLO, payload=encode_message(Hello(session="0" * 32)))
    ours.sendall(encode_frame(hello))
    thread.join()
    assert reasons[-1] == "events"
    (event,) = session.take_events()
    assert isinstance(event, _qecpipe.ControlFrame)
    assert (event.type, event.payload) == (FrameType.HELLO, hello.payload)
    ours.close()
    ours, thread, reasons = serving(session, wake_fd=wake)
    os.write(waker, b"x")
    thread.join()
    assert reasons[-1] == "woken"
    ours.close()
    os.close(wake)
    os.close(waker)


def test_deadlines_are_kept_while_nothing_arrives() -> None:
    session = _qecpipe.Session()
    opened(session, parity(), gap_deadline_ns=200_000_000)
    ours, thread, _ = serving(session)
    with ours:
        ours.sendall(block(0, 0, 2) + block(0, 3, 4))
        got = receive(ours, 4)
    thread.join()
    assert sum(frame.type == FrameType.NACK for frame in got) >= 2
    assert {frame.flags for frame in got if frame.type == FrameType.RESULT} == {int(Flag.DEGRADED)}


def test_a_client_that_does_not_read_stops_the_decoding_and_nothing_grows() -> None:
    session = _qecpipe.Session(output_bytes=4096)
    opened(session, parity(), window=64)
    ours, thread, reasons = serving(session)
    data = b"".join(block(epoch, 0, 7) for epoch in range(20_000))
    ours.settimeout(0.5)
    with ours:
        with pytest.raises(TimeoutError):
            ours.sendall(data)
        time.sleep(0.1)
    thread.join()
    assert reasons[-1] == "closed"
    assert session.stalled
    assert session.place(0)[0] < 20_000


def test_after_a_fatal_fault_the_answer_is_sent_and_the_connection_over() -> None:
    session = _qecpipe.Session()
    ours, thread, reasons = serving(session)
    wrong = bytearray(block(0, 0, 1))
    wrong[2] = 1
    wrong[30:32] = (zlib.crc32(wrong[:30]) & 0xFFFF).to_bytes(2, "little")
    with ours:
        ours.sendall(wrong)
        parser, got = FrameParser(), []
        while data := ours.recv(4096):
            got += parser.feed(data)
    thread.join()
    assert [frame.type for frame in got] == [FrameType.ERROR]
    assert b"version 1" in got[0].payload
    assert reasons[-1] == "finished" or reasons[-1] == "events"


def test_a_new_connection_starts_clean_and_resends_what_is_asked_for() -> None:
    session = _qecpipe.Session()
    opened(session, parity())
    session.feed(block(0, 0, 7) + block(1, 0, 1)[:-1])
    work(session)
    first = [frame for frame in frames(session.take_output()) if frame.type in OUTPUTS]
    session.attach()
    session.feed(block(1, 0, 7))
    work(session)
    assert session.take_output() == b"", "nothing is sent before OPENED"
    resent = session.resend(0, 2)
    assert resent is not None
    again = frames(resent)
    assert [f._replace(flags=0) for f in again[:3]] == first[2:]
    assert len(again) == 3 + 5
    assert {frame.flags for frame in again} == {int(Flag.RESENT)}


def test_a_restored_stream_goes_on_with_numbers_and_place() -> None:
    before = _qecpipe.Session()
    opened(before, parity())
    before.feed(block(0, 0, 7))
    work(before)
    kept = b"".join(encode_frame(f) for f in frames(before.take_output()) if f.type in OUTPUTS)
    session = _qecpipe.Session()
    opened(session, parity(), place=(1, 0), outputs=0)
    session.keep(0, kept)
    assert (session.place(0), session.outputs(0)) == ((1, 0), 5)
    session.feed(block(1, 0, 2))
    work(session)
    assert [f.sequence for f in frames(session.take_output()) if f.type in OUTPUTS] == [5]


def test_kept_outputs_with_a_hole_are_kept_from_it_on() -> None:
    """Those missing were read as frames, past the end of what was to be sent."""
    before = _qecpipe.Session()
    opened(before, parity())
    before.feed(block(0, 0, 7))
    work(before)
    kept = [encode_frame(f) for f in frames(before.take_output()) if f.type in OUTPUTS]
    session = _qecpipe.Session()
    opened(session, parity(), place=(1, 0), outputs=0)
    session.keep(0, b"".join([*kept[:2], *kept[3:]]))
    assert session.outputs(0) == len(kept) == 5
    assert session.resend(0, 1) is None
    assert session.resend(0, 2) is None
    resent = session.resend(0, 3)
    assert resent is not None
    assert [frame.sequence for frame in frames(resent)] == [3, 4]


def test_a_close_comes_when_everything_before_it_is_decoded() -> None:
    session = _qecpipe.Session()
    opened(session, parity())
    session.feed(block(0, 0, 7) + encode_frame(Frame(FrameType.CLOSE, 0, payload=b"\x80")))
    assert session.take_events() == []
    work(session)
    (event,) = session.take_events()
    assert isinstance(event, _qecpipe.ControlFrame)
    assert (event.type, session.outputs(0), session.at_rest) == (FrameType.CLOSE, 5, True)
    session.close(0)
    assert session.streams == []
    with pytest.raises(ValueError, match="stream 0 is not open"):
        session.place(0)


@pytest.mark.parametrize("compared", [0, 1, 2])
def test_ones_are_those_of_the_last_rounds(compared: int) -> None:
    """Not of those with another width, nor erased ones, nor what is compared with them."""
    session = _qecpipe.Session()
    opened(session, parity(), window=3)
    rounds = [None if at in (0, 4) else (at * 5 + 1) % 16 for at in range(SHAPE.rounds)]
    seen = [(old ^ new if compared else new) for old, new in _pairs(rounds, compared)]
    assert len(seen) == (2 if compared else 4)

    def counted(most: int, bits: int = 8) -> tuple[int, list[int]]:
        rounds, ones = session.count_ones(0, most=most, bits=bits, compared=compared)
        return rounds, ones.tolist()

    def expected(values: list[int]) -> tuple[int, list[int]]:
        return len(values), [sum(value >> bit & 1 for value in values) for bit in range(8)]

    assert counted(100) == expected([])
    for at in range(7):
        session.feed(block(0, at, 1, erased=(at,) if at == 4 else ()))
        work(session)
    assert counted(100) == expected(seen)
    assert counted(3) == expected([] if compared else seen[-1:])  # one is the final row, one erased
    assert counted(100, bits=4) == ((0, [0] * 4) if compared else (1, [1, 0, 0, 0]))
    session.feed(encode_frame(Frame(FrameType.RESET, 0, 4)))
    work(session)
    session.feed(block(4, 0, 2))
    work(session)
    assert counted(100) == expected([] if compared else [(4 * 3 + 5 + 1) % 16])


def _pairs(rounds: list[int | None], compared: int) -> Iterator[tuple[int, int]]:
    for at, new in enumerate(rounds):
        old = rounds[at - compared] if at >= compared else None
        if new is not None and old is not None:
            yield old, new


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window"),
        ({"window": 1 << 25}, "window"),
        ({"gap_deadline_ns": 0}, "gap_deadline_ns"),
        ({"place": (0, 7)}, "place"),
    ],
)
def test_options_that_do_not_fit_are_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        opened(_qecpipe.Session(), parity(), **options)


@pytest.mark.parametrize("layers", [[], [(0, 8)], [(1 << 33, 8)]])
def test_shapes_that_do_not_fit_are_named(layers: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="layers"):
        _qecpipe.ParityDecoder(layers=layers, final_bits=1, num_observables=1, commit=1, model=MODEL)


def test_credit_says_what_is_in_flight() -> None:
    session = _qecpipe.Session()
    opened(session, parity(), window=8)
    session.feed(block(0, 0, 5))
    work(session)
    (credit,) = [f for f in frames(session.take_output()) if f.type == FrameType.CREDIT]
    assert (credit.sequence, decode_credit(credit.payload)) == (5, (8, 0))


def test_any_number_of_pings_behind_a_row_is_answered_at_once() -> None:
    """Each answer moved all that waited behind it."""
    session = _qecpipe.Session(output_bytes=1 << 30)
    opened(session, parity())
    pings = [encode_frame(Frame(FrameType.PING, 0, 0, number)) for number in range(100_000)]
    session.feed(block(0, 0, 5) + b"".join(pings))
    assert pings[0] not in session.take_output()
    start = time.monotonic()
    work(session)
    assert time.monotonic() - start < 20
    answers = [frame.sequence for frame in frames(session.take_output()) if frame.type == FrameType.PING]
    assert answers == list(range(100_000))


def test_a_second_thread_is_refused() -> None:
    """Both would have changed what the other one reads."""
    session = _qecpipe.Session()
    opened(session, parity())
    wake, waker = os.pipe()
    ours, theirs = socket.socketpair()
    thread = threading.Thread(
        target=session.serve, args=(theirs.fileno(),), kwargs={"wake_fd": wake, "timeout": 60}
    )
    thread.start()
    ours.sendall(block(0, 0, 7))
    receive(ours, 1)  # it is in the other thread's hands
    for call in (
        lambda: session.feed(b""),
        session.work,
        session.tick,
        session.take_output,
        session.take_events,
        lambda: session.stats(0),
        lambda: session.close(0),
        lambda: session.stalled,
        lambda: session.serve(theirs.fileno(), timeout=0),
    ):
        with pytest.raises(RuntimeError, match="another thread uses this session now"):
            call()
    os.write(waker, b"x")
    thread.join()
    assert session.stats(0)["shots"] == 1
    for descriptor in (ours, theirs):
        descriptor.close()
    os.close(wake)
    os.close(waker)


def test_no_timeout_is_as_long_as_it_takes() -> None:
    """Infinity was converted to a number of ns that no integer holds, and `serve` returned at once."""
    session = _qecpipe.Session()
    wake, waker = os.pipe()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        threading.Timer(0.2, os.write, (waker, b"x")).start()
        begin = time.monotonic()
        assert session.serve(theirs.fileno(), wake_fd=wake, timeout=float("inf")) == "woken"
        assert time.monotonic() - begin > 0.1
        for wrong in (float("nan"), -1.0):
            with pytest.raises(ValueError, match="timeout is"):
                session.serve(theirs.fileno(), timeout=wrong)
            with pytest.raises(ValueError, match="busy_poll is"):
                session.serve(theirs.fileno(), timeout=0.0, busy_poll=wrong)
    os.close(wake)
    os.close(waker)


def test_nothing_of_a_stream_is_said_before_opened() -> None:
    """What was asked for on the last connection and is done on this one shows in OPENED."""
    session = _qecpipe.Session()
    decoder = parity()
    opened(session, decoder)
    session.feed(block(0, 0, 3))
    work(session)
    session.take_output()
    session.feed(encode_frame(Frame(FrameType.RESET, 0, 4)))
    decoder.prepare(b"\xcd" * 8)
    session.swap(0, "ab" * 32, "dem")
    session.attach()
    work(session)
    assert frames(session.take_output()) == []
    assert session.place(0) == (4, 0)
    (swapped,) = session.take_events()
    assert isinstance(swapped, _qecpipe.Swapped)
    assert (swapped.epoch, swapped.at_round) == (4, 0)
    session.announce(0)
    session.feed(encode_frame(Frame(FrameType.RESET, 0, 6)))
    work(session)
    assert [frame.type for frame in frames(session.take_output())] == [FrameType.RESET]
