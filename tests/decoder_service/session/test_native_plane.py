"""The native session beside its streams: decoders in Python, streams that are restored, what is refused."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

import _qecpipe
from decoder_service.protocol import (
    Flag,
    Frame,
    FrameType,
    decode_credit,
    encode_frame,
)
from decoder_service.session import Outcome

from .native_sessions import MODEL, OUTPUTS, SHAPE, WIDE, block, frames, opened, parity, work


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
