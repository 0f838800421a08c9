"""The native data plane against the Python reference: the same frames out, whatever comes in."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import _qecpipe
from decoder_service.protocol import (
    ErrorCode,
    Flag,
    Frame,
    FrameParser,
    FrameType,
    Limits,
    Open,
    Reload,
    WireFault,
    decode_commit,
    decode_message,
    encode_block,
    encode_frame,
    encode_message,
)
from decoder_service.protocol.messages import Error
from decoder_service.session import OrderingConfig, Outcome, Row, Skip, StreamSession, StreamShape, Swap

SHAPE = StreamShape(layers=((1, 4), (5, 8), (1, 12)), final_bits=3, num_observables=9, commit=2)
MODEL, OTHER = b"\xab" * 8, b"\xcd" * 8
REFUSED = 0x77
DEADLINE = 1000
PASSED_BY = (FrameType.HELLO, FrameType.OPEN, FrameType.RELOAD, FrameType.UPLOAD)
ONLY_ANNOUNCED = (
    FrameType.COMMIT,
    FrameType.RESULT,
    FrameType.CREDIT,
    FrameType.NACK,
    FrameType.RESET,
    FrameType.RELOAD,
)
LIMITS = Limits(round_bytes=300, control_bytes=100, upload_bytes=400, garbage_bytes=2000)
STREAMS: tuple[int, ...] = (3, 8)
WITH_GAP = (8,)
"""Their RESULTs have gaps, but for shots whose last byte of parity is 0."""


class Parity:
    """What `_qecpipe.ParityDecoder` does: the XOR of the rows' bytes so far."""

    def __init__(self, session: StreamSession) -> None:
        self.session, self.parity = session, 0
        self.gap = session.stream in WITH_GAP

    def decode(self, row: Row, now: int) -> list[Outcome]:
        """Raises ValueError for a round that is to be refused."""
        if row.sequence == 0:
            self.parity = 0
        final = row.sequence == SHAPE.rounds
        if not final and not row.erased and row.bits and row.bits[0] == REFUSED:
            raise ValueError("refused")
        for byte in row.bits:
            self.parity ^= byte
        upto = min(row.sequence + 1, SHAPE.rounds)
        bits = bytes([self.parity]) * 2
        outcome = Outcome(upto, bits, self.session.model_id, row.arrived, now)
        if final:
            return [outcome, outcome._replace(gap=self.parity / 2 if self.gap and self.parity else None)]
        return [outcome] if upto % SHAPE.commit == 0 else []


class Reference:
    """A session of `StreamSession`s and a parser: what `_qecpipe.Session` is to be equal to."""

    def __init__(self, *, window: int, on_gap: str, faults: int) -> None:
        self.now, self.faults, self.allowed = 0, 0, faults
        self.config = OrderingConfig(window=window, gap_deadline=DEADLINE, on_gap=on_gap)
        self.streams = {n: self._stream(n) for n in STREAMS}
        self.decoders = {n: Parity(session) for n, session in self.streams.items()}
        self.line: list[int] = []
        self.attach()

    def _stream(self, number: int) -> StreamSession:
        return StreamSession(number, SHAPE, self.config, model="ab" * 32, model_id=MODEL)

    def attach(self) -> None:
        self.parser = FrameParser(limits=LIMITS)
        self.faults, self.closing = 0, False
        self.announced: set[int] = set()
        self.waiting: list[tuple[Frame, int]] = []
        self.out: list[Frame] = []
        self.control: list[Frame] = []
        self.records: list[Frame] = []
        for session in self.streams.values():
            session.resume_deadlines(self.now)

    def feed(self, data: bytes) -> None:
        for item in self.parser.feed(data):
            if self.closing:
                break
            self._fault(item) if isinstance(item, WireFault) else self._frame(item)
        self._answer()

    def _fault(self, fault: WireFault) -> None:
        session = self.streams.get(fault.stream)
        if session is None or fault.fatal:
            self.out.append(_error(fault.stream, ErrorCode.BAD_FRAME, "frame", fault.detail))
        else:
            self._say(session, session.fault(fault, self.now))
        self.faults += 1
        if self.faults == self.allowed + 1:
            message = f"more than {self.allowed} damaged frames on this connection"
            self.out.append(_error(0, ErrorCode.TOO_MANY_FAULTS, "connection", message))
        self.closing = fault.fatal or self.faults > self.allowed

    def _frame(self, frame: Frame) -> None:
        session = self.streams.get(frame.stream)
        if frame.type in PASSED_BY:
            self.control.append(frame)
        elif frame.type in (FrameType.PING, FrameType.CLOSE):
            kept = frame.payload[:64] if frame.type == FrameType.PING else frame.payload
            self.waiting.append((frame._replace(payload=kept), session.ordering.expected if session else 0))
        elif session is None:
            message = f"{frame.type.name} for stream {frame.stream}, which is not open"
            self.out.append(_error(frame.stream, ErrorCode.UNKNOWN_STREAM, "frame", message))
        else:
            self._say(session, session.receive(frame, self.now))
            self._line_up(session)

    def _line_up(self, session: StreamSession) -> None:
        if session.stream not in self.line and self._has_work(session):
            self.line.append(session.stream)

    def _has_work(self, session: StreamSession) -> bool:
        _, sequence = SHAPE.place(session.ordering.decoded)
        swaps = session._swap is not None and sequence % SHAPE.commit == 0 and sequence != SHAPE.rounds
        return swaps or session.has_ready

    def _answer(self) -> None:
        still: list[tuple[Frame, int]] = []
        for frame, ordinal in self.waiting:
            session = self.streams.get(frame.stream)
            if session is not None and session.ordering.decoded < ordinal:
                still.append((frame, ordinal))
            elif frame.type == FrameType.CLOSE:
                self.control.append(frame)
            else:
                self.out.append(frame)
                self._say(session, session.credit(force=True)) if session else None
        self.waiting = still

    def work(self) -> None:
        """All there is to do; streams in the order in which they came to have something to do."""
        while not self.closing:
            self.line = [number for number in self.line if self._has_work(self.streams[number])]
            for session in self.streams.values():
                self._line_up(session)
            if not self.line:
                break
            session = self.streams[self.line.pop(0)]
            while (item := session.take()) is not None:
                said = self._work_on(session, item)
                if session.stream not in self.announced:  # SHOT_FAILED: the RESULT says it again
                    said = [frame for frame in said if frame.type != FrameType.ERROR]
                self._say(session, said)
            self._say(session, session.credit())
            self._answer()
        self._answer()

    def _work_on(self, session: StreamSession, item: Row | Skip | Swap) -> list[Frame]:
        if isinstance(item, Skip):
            return session.skipped(item, self.now)
        if isinstance(item, Swap):
            return session.swapped(item, OTHER)
        try:
            return session.decoded(item, self.decoders[session.stream].decode(item, self.now))
        except ValueError as error:
            session.failed(item, str(error))
            return []

    def tick(self) -> None:
        for session in self.streams.values():
            due = session.next_deadline()
            if due is not None and due <= self.now:
                self._say(session, session.tick(self.now))

    def swap(self, stream: int) -> None:
        if self.streams[stream]._reload is None:
            self.streams[stream].request_reload(Reload("cd" * 32))
            self.streams[stream].reload_prepared()

    def _say(self, session: StreamSession, frames: list[Frame]) -> None:
        announced = session.stream in self.announced
        self.out += [frame for frame in frames if announced or frame.type not in ONLY_ANNOUNCED]


class Native:
    """`_qecpipe.Session` with the same verbs."""

    def __init__(self, *, window: int, on_gap: str, faults: int, block: int = 0) -> None:
        self.session = _qecpipe.Session(
            round_bytes=LIMITS.round_bytes,
            control_bytes=LIMITS.control_bytes,
            upload_bytes=LIMITS.upload_bytes,
            garbage_bytes=LIMITS.garbage_bytes,
            faults=faults,
            manual_clock=True,
        )
        self.decoders = {}
        for number in STREAMS:
            self.decoders[number] = decoder = _qecpipe.ParityDecoder(
                layers=list(SHAPE.layers),
                final_bits=SHAPE.final_bits,
                num_observables=SHAPE.num_observables,
                commit=SHAPE.commit,
                model=MODEL,
                refuse=REFUSED,
                block=block,
                gap=number in WITH_GAP,
            )
            self.session.open(
                number,
                decoder,
                layers=list(SHAPE.layers),
                final_bits=SHAPE.final_bits,
                num_observables=SHAPE.num_observables,
                commit=SHAPE.commit,
                window=window,
                gap_deadline_ns=DEADLINE,
                erase=on_gap == "erase",
            )

    def work(self) -> list[_qecpipe.ControlFrame]:
        """All there is to do; what is blocked is told that it may go on."""
        control = []
        more = True
        while more:
            more = self.session.work()
            for event in self.session.take_events():
                if isinstance(event, _qecpipe.Blocked):
                    self.session.unblock(event.stream)
                    more = True
                elif isinstance(event, _qecpipe.ControlFrame):
                    control.append(event)
        return control

    def swap(self, stream: int) -> None:
        self.decoders[stream].prepare(OTHER)
        self.session.swap(stream, "cd" * 32, "dem")


def _error(stream: int, code: ErrorCode, scope: str, message: str) -> Frame:
    return Frame(FrameType.ERROR, stream, payload=encode_message(Error(code, scope, message)))  # type: ignore[arg-type]


def as_frame(event: _qecpipe.ControlFrame) -> Frame:
    kind = FrameType(event.type)
    return Frame(kind, event.stream, event.epoch, event.sequence, event.payload, event.flags)


class Traffic:
    """Frames that a client might send, and what may happen to them on the way."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.next = dict.fromkeys(STREAMS, 0)

    def bytes(self) -> bytes:
        rng = self.rng
        sent = [encode_frame(self._frame()) for _ in range(rng.randint(1, 6))]
        out = b""
        for data in sent:
            how = rng.randrange(30)
            if how == 0:
                data = data * 2
            elif how == 1:
                data = data[: rng.randrange(len(data))]
            elif how == 2:
                damaged = bytearray(data)
                damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
                data = bytes(damaged)
            elif how == 3:
                changed = bytearray(data)
                changed[rng.choice([3, 4, 8, 16, 17, 28])] = rng.randrange(256)
                changed[30:32] = struct.pack("<H", zlib.crc32(changed[:30]) & 0xFFFF)
                data = bytes(changed)
            elif how == 4:
                data = rng.randbytes(rng.randrange(60)) + data
            elif how < 8:
                data = b""
            out += data
        return out

    def _frame(self) -> Frame:
        rng = self.rng
        stream = rng.choice(STREAMS)
        how = rng.randrange(40)
        if how == 0:
            return Frame(
                rng.choice(list(FrameType)), rng.choice([*STREAMS, 5, 2**32 - 1]), payload=rng.randbytes(3)
            )
        if how == 1:
            epoch = self.next[stream] // (SHAPE.rounds + 1) + rng.randrange(3)
            self.next[stream] = max(self.next[stream], SHAPE.ordinal(epoch, 0))
            return Frame(FrameType.RESET, stream, epoch)
        if how == 2:
            return Frame(
                FrameType.PING, stream, sequence=rng.randrange(99), payload=rng.randbytes(rng.randrange(80))
            )
        if how == 3:
            return Frame(FrameType.STATS, stream)
        if how == 4:
            return Frame(FrameType.OPEN, stream, payload=encode_message(Open(model="0" * 64)))
        return self._block(stream)

    def _block(self, stream: int) -> Frame:
        """Mostly the next rows; else rows from a little before or after, with a wrong bit now and then."""
        rng = self.rng
        start = self.next[stream]
        if rng.random() < 0.2:
            start = max(0, start + rng.randint(-12, 6))
        epoch, sequence = SHAPE.place(start)
        count = rng.randint(1, SHAPE.rounds + 1 - sequence)
        if rng.random() < 0.5:
            count = 1
        self.next[stream] = max(self.next[stream], start + count)
        wrong = rng.random() < 0.05
        rows = [self._row(epoch, at, wrong) for at in range(sequence, sequence + count)]
        final = sequence + count > SHAPE.rounds
        erased = None
        if rng.random() < 0.2:
            erased = [hash((epoch, at)) % 7 == 0 for at in range(sequence, sequence + count)]
            if final and rng.random() < 0.9:
                erased[-1] = False
        kind = FrameType.FINAL if final else FrameType.ROUNDS
        flags = (Flag.ERASED if erased else 0) | rng.choice([0, 0, 0, Flag.RESENT])
        if rng.random() < 0.01:
            flags = rng.getrandbits(16)
        payload = encode_block(rows, erased)
        if rng.random() < 0.02:
            payload = payload[: rng.randrange(len(payload) + 1)] + rng.randbytes(rng.randrange(3))
        return Frame(kind, stream, epoch, sequence, payload, flags)

    def _row(self, epoch: int, sequence: int, wrong: bool) -> bytes:
        bits = SHAPE.bits(sequence)
        value = (epoch * 2654435761 + sequence * 40503 + 1) % 2**bits
        if wrong:
            value ^= 1
        return value.to_bytes((bits + 7) // 8, "little")


def run(seed: int, *, steps: int, block: int = 0) -> list[Frame]:
    """Both under the same traffic and times; what they said, after checking that it is the same."""
    rng = random.Random(seed)
    given = {
        "window": rng.choice([4, 11, 64]),
        "on_gap": rng.choice(["erase", "fail"]),
        "faults": rng.choice([2, 10**6]),
    }
    reference, plane, traffic = Reference(**given), Native(**given, block=block), Traffic(rng)
    parser = FrameParser(limits=Limits())
    said: list[Frame] = []
    for step in range(steps):
        if step == 0 or reference.closing or rng.random() < 0.02:
            reference.attach()
            plane.session.attach()
            traffic.next = {n: s.ordering.expected for n, s in reference.streams.items()}
        if rng.random() < 0.5:
            announced = rng.choice(STREAMS)
            reference.announced.add(announced)
            plane.session.announce(announced)
        if rng.random() < 0.05:
            swapped = rng.choice(STREAMS)
            if reference.streams[swapped]._reload is None:
                reference.swap(swapped)
                plane.swap(swapped)
        data = traffic.bytes()
        at = rng.randrange(len(data) + 1)
        for part in (data[:at], data[at:]):
            reference.feed(part)
            plane.session.feed(part)
        if rng.random() < 0.8:
            reference.work()
            control = plane.work()
        else:
            control = [e for e in plane.session.take_events() if isinstance(e, _qecpipe.ControlFrame)]
        reference.now += rng.choice([0, 1, 100, 300, 1200])
        plane.session.now = reference.now
        reference.tick()
        plane.session.tick()
        got = parser.feed(plane.session.take_output())
        assert _compared(got, block) == _compared(reference.out, block)
        assert [as_frame(event) for event in control] == reference.control
        assert plane.session.next_deadline == _next(reference)
        assert plane.session.closing == reference.closing
        said += reference.out
        reference.out.clear()
        reference.control.clear()
    for number in STREAMS:
        ours = reference.streams[number]
        assert plane.session.place(number) == SHAPE.place(ours.ordering.decoded)
        assert plane.session.outputs(number) == ours.outputs
        after = max(0, ours.outputs - 20)
        kept, resent = ours.resend(after), plane.session.resend(number, after)
        assert kept is not None
        assert resent is not None
        assert FrameParser().feed(resent) == kept
        assert plane.session.resend(number, ours.outputs + 1) is None
    return said


def _compared(frames: Sequence[Frame | WireFault], block: int) -> Sequence[Frame | WireFault]:
    """What is blocked is worked on in parts: CREDIT and PING come after each, and streams take turns."""
    if not block:
        return frames
    frames = [frame for frame in frames if frame.type not in (FrameType.CREDIT, FrameType.PING)]
    return sorted(frames, key=lambda frame: frame.stream)


def _next(reference: Reference) -> int | None:
    due = [session.next_deadline() for session in reference.streams.values()]
    return min((time for time in due if time is not None), default=None)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_the_same_bytes_in_give_the_same_bytes_out(seed: int) -> None:
    run(seed, steps=40)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1, 3, 4]))
def test_a_decoder_that_has_to_wait_changes_nothing(seed: int, block: int) -> None:
    run(seed, steps=40, block=block)


def test_traffic_of_these_tests_has_everything_in_it() -> None:
    """What is compared is not empty: all kinds of answers and errors occur."""
    said = [frame for seed in range(60) for frame in run(seed, steps=60)]
    kinds = {frame.type for frame in said}
    assert kinds >= {
        FrameType.COMMIT,
        FrameType.RESULT,
        FrameType.CREDIT,
        FrameType.NACK,
        FrameType.RESET,
        FrameType.RELOAD,
        FrameType.ERROR,
        FrameType.STATS,
        FrameType.PING,
    }
    codes = {_code(frame) for frame in said if frame.type == FrameType.ERROR}
    wanted = (
        "BAD_FRAME BAD_PAYLOAD BAD_SEQUENCE STALE_EPOCH LATE CONFLICT OVERLOAD SHOT_FAILED UNKNOWN_STREAM"
    )
    assert codes >= {ErrorCode[name] for name in [*wanted.split(), "TOO_MANY_FAULTS"]}
    flags = {flag for frame in said for flag in Flag if frame.flags & flag}
    assert flags >= {Flag.DEGRADED, Flag.FAILED, Flag.CONFLICT, Flag.GAP}
    results = [frame for frame in said if frame.type == FrameType.RESULT]
    gaps = {decode_commit(frame.payload, flags=frame.flags).gap for frame in results}
    assert None in gaps
    assert len(gaps) > 20
    assert {frame.stream for frame in said if frame.flags & Flag.GAP} == set(WITH_GAP)


def _code(frame: Frame) -> ErrorCode:
    return decode_message(frame.payload, Error).code


@pytest.mark.parametrize("size", [*range(20), 100, 1000])
def test_crc32_is_zlibs(size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert _qecpipe.crc32(data) == zlib.crc32(data)
