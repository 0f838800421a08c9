"""The parser on sound, cut, damaged and random bytes."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from decoder_service.protocol import (
    HEADER_BYTES,
    FaultKind,
    Frame,
    FrameParser,
    FrameType,
    Limits,
    WireFault,
    encode_frame,
)

frames = st.builds(
    Frame,
    type=st.sampled_from(FrameType),
    stream=st.integers(0, 2**32 - 1),
    epoch=st.integers(0, 2**32 - 1),
    sequence=st.integers(0, 2**64 - 1),
    payload=st.binary(max_size=80),
    flags=st.integers(0, 2**16 - 1),
)


def chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(st.lists(frames, max_size=8), st.lists(st.integers(0, 10**6), max_size=12))
def test_round_trip_however_the_bytes_are_cut(sent: list[Frame], cuts: list[int]) -> None:
    parser = FrameParser()
    data = b"".join(map(encode_frame, sent))
    assert [item for chunk in chunks(data, cuts) for item in parser.feed(chunk)] == sent
    assert parser.buffered == 0


@given(st.binary(max_size=600), st.lists(frames, max_size=3), st.lists(st.integers(0, 10**6), max_size=12))
def test_result_does_not_depend_on_the_cuts(noise: bytes, sent: list[Frame], cuts: list[int]) -> None:
    data = noise + b"".join(map(encode_frame, sent)) + noise
    whole, cut = FrameParser(), FrameParser()
    assert [i for c in chunks(data, cuts) for i in cut.feed(c)] == whole.feed(data)


@given(frames, frames, st.data())
def test_one_flipped_bit_costs_at_most_its_own_frame(
    first: Frame, second: Frame, data: st.DataObject
) -> None:
    encoded = bytearray(encode_frame(first))
    bit = data.draw(st.integers(0, 8 * len(encoded) - 1))
    encoded[bit // 8] ^= 1 << bit % 8
    items = FrameParser().feed(bytes(encoded) + encode_frame(second))
    assert isinstance(items[0], WireFault)
    assert not items[0].fatal
    if bit < 8 * HEADER_BYTES:
        assert items[0].kind is FaultKind.GARBAGE
        assert second in items
    else:
        fault = WireFault(
            FaultKind.BAD_CRC, f"{first.type.name} payload", *first[:4], len(first.payload), first.flags
        )
        assert items == [fault, second]


@given(st.lists(frames, min_size=2, max_size=5), st.data())
def test_after_a_cut_frame_the_next_but_one_is_found(sent: list[Frame], data: st.DataObject) -> None:
    """What a cut frame swallows is at most as long as what it lacks; whole frames follow it."""
    encoded = encode_frame(sent[0])
    cut = data.draw(st.integers(1, len(encoded) - 1))
    tail = sent[1:] + [Frame(FrameType.PING)] * (len(encoded) // HEADER_BYTES + 2)
    bytes_sent = encoded[:cut] + b"".join(map(encode_frame, tail))
    assume(not bytes_sent.startswith(encoded))  # what follows may happen to be what is missing
    items = FrameParser().feed(bytes_sent)
    good = [item for item in items if isinstance(item, Frame)]
    assert good == tail[len(tail) - len(good) :]
    assert len(good) >= len(tail) - (len(encoded) - cut) // HEADER_BYTES - 1


@pytest.mark.parametrize("kind", FrameType)
def test_too_large_is_fatal_before_it_arrives(kind: FrameType) -> None:
    parser = FrameParser(limits=Limits(round_bytes=16, control_bytes=8, upload_bytes=32))
    limit = {FrameType.ROUNDS: 16, FrameType.FINAL: 16, FrameType.UPLOAD: 32}.get(kind, 8)
    assert parser.feed(encode_frame(Frame(kind, payload=bytes(limit)))) == [Frame(kind, payload=bytes(limit))]
    (fault,) = parser.feed(encode_frame(Frame(kind, payload=bytes(limit + 1)))[:HEADER_BYTES])
    assert isinstance(fault, WireFault)
    assert (fault.kind, fault.fatal) == (FaultKind.TOO_LARGE, True)
    assert parser.closed
    assert parser.feed(encode_frame(Frame(FrameType.PING))) == []
    assert parser.buffered == 0


def test_unknown_type_is_skipped_and_other_version_closes() -> None:
    unknown = bytearray(encode_frame(Frame(FrameType.PING, payload=b"abc")))
    unknown[3] = 200
    _fix_check(unknown)
    parser = FrameParser()
    fault, ping = parser.feed(bytes(unknown) + encode_frame(Frame(FrameType.PING)))
    assert isinstance(fault, WireFault)
    assert (fault.kind, ping) == (FaultKind.UNKNOWN_TYPE, Frame(FrameType.PING))
    other = bytearray(encode_frame(Frame(FrameType.PING)))
    other[2] = 1
    _fix_check(other)
    (fault,) = parser.feed(bytes(other))
    assert isinstance(fault, WireFault)
    assert (fault.kind, parser.closed) == (FaultKind.BAD_VERSION, True)


def test_a_run_of_garbage_is_one_fault_and_too_much_closes() -> None:
    parser = FrameParser(limits=Limits(garbage_bytes=1000))
    assert parser.feed(b"x" * 900) == []
    fault, ping = parser.feed(encode_frame(Frame(FrameType.PING)))
    assert (fault, ping) == (WireFault(FaultKind.GARBAGE, "900 bytes skipped"), Frame(FrameType.PING))
    faults = [fault for _ in range(20) for fault in parser.feed(b"QD" * 50)]
    assert [fault.kind for fault in faults if isinstance(fault, WireFault)] == [FaultKind.TOO_MUCH_GARBAGE]
    assert parser.closed


@pytest.mark.parametrize("seed", range(4))
def test_fuzz_never_raises_and_keeps_memory_bounded(seed: int) -> None:
    """Random, mutated, cut and repeated frames, 20,000 a seed; a sound frame at the end is found."""
    rng = random.Random(seed)
    limits = Limits(round_bytes=256, control_bytes=512, upload_bytes=1024, garbage_bytes=10**9)
    parser = FrameParser(limits=limits)
    good = faults = 0
    for _ in range(20_000):
        data = _fuzzed(rng)
        for item in parser.feed(data):
            good += isinstance(item, Frame)
            faults += isinstance(item, WireFault)
        assert parser.buffered < HEADER_BYTES + 1024 + len(data)
        if parser.closed:
            parser = FrameParser(limits=limits)
    # What a cut frame still waits for may swallow this many of the last frames, and no more.
    last = Frame(FrameType.CLOSE, sequence=seed)
    end = parser.feed(encode_frame(last) * (1024 // HEADER_BYTES + 2))
    assert end[-1] == last
    assert good > 1000
    assert faults > 1000


def _fuzzed(rng: random.Random) -> bytes:
    frame = Frame(
        FrameType(rng.randrange(1, 17)),
        rng.getrandbits(32),
        rng.getrandbits(32),
        rng.getrandbits(64),
        rng.randbytes(rng.randrange(64)),
        rng.getrandbits(16),
    )
    data = bytearray(encode_frame(frame))
    how = rng.randrange(6)
    if how == 0:
        return rng.randbytes(rng.randrange(100))
    if how == 1:
        return bytes(data[: rng.randrange(len(data))])
    if how == 2:
        data[rng.randrange(len(data))] = rng.randrange(256)
    elif how == 3:
        data[rng.randrange(30)] = rng.randrange(256)
        _fix_check(data)  # a header that is wrong and still consistent
    elif how == 4:
        at = rng.randrange(len(data))
        data[at:at] = b"QD" * rng.randrange(4)
    return bytes(data)


def _fix_check(data: bytearray) -> None:
    import zlib

    data[30:32] = (zlib.crc32(data[:30]) & 0xFFFF).to_bytes(2, "little")
