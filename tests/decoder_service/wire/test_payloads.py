"""Binary payloads and control messages: round trips, and typed errors for everything else."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoder_service import wire
from decoder_service.wire import Flag, Frame, FrameType, PayloadError

u64 = st.integers(0, 2**64 - 1)
DECODERS = [wire.decode_commit, wire.decode_credit, wire.decode_nack, wire.decode_upload]
MESSAGES = [
    wire.Hello,
    wire.Welcome,
    wire.Open,
    wire.Opened,
    wire.Reload,
    wire.Reloaded,
    wire.Error,
    wire.Stats,
    wire.Close,
]


@given(u64, u64, u64, st.binary(min_size=8, max_size=8), st.integers(0, 40))
def test_commit_round_trip(upto: int, start: int, end: int, model: bytes, observables: int) -> None:
    bits = bytes(range(wire.packed_bytes(observables)))
    commit = wire.CommitPayload(upto, start ^ end, start, end, model, observables, bits)
    assert wire.decode_commit(wire.encode_commit(commit)) == commit
    result = commit._replace(readout=bits)
    assert wire.decode_commit(wire.encode_commit(result)) == result
    frame = Frame(FrameType.COMMIT, payload=wire.encode_commit(commit))
    assert wire.decode_commit(wire.without_times(frame).payload) == commit._replace(time_in=0, time_out=0)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), u64, u64, st.binary(max_size=50))
def test_small_payloads_round_trip(window: int, flight: int, count: int, wait: int, part: bytes) -> None:
    credit = wire.CreditPayload(window, flight)
    nack = wire.NackPayload(count, wait)
    upload = wire.UploadPayload(bytes(32), 7 + len(part), 7, part)
    assert wire.decode_credit(wire.encode_credit(credit)) == credit
    assert wire.decode_nack(wire.encode_nack(nack)) == nack
    assert wire.decode_upload(wire.encode_upload(upload)) == upload


@pytest.mark.parametrize("decode", DECODERS, ids=lambda decode: decode.__name__)
@given(payload=st.binary(max_size=80))
def test_any_bytes_decode_or_raise_payload_error(decode, payload: bytes) -> None:
    with contextlib.suppress(PayloadError):
        decode(payload)


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
@given(payload=st.binary(max_size=60))
def test_any_bytes_are_a_message_or_raise_payload_error(kind, payload: bytes) -> None:
    with contextlib.suppress(PayloadError):
        wire.decode_message(payload, kind)


def test_deep_nesting_is_a_payload_error() -> None:
    with pytest.raises(PayloadError, match="not a Stats message"):
        wire.decode_message(b"\x91" * 60_000, wire.Stats)


def test_unknown_keys_are_ignored_and_missing_ones_named() -> None:
    assert wire.decode_message(b"\x81\xa5later\x01", wire.Stats) == wire.Stats()
    with pytest.raises(PayloadError, match="session"):
        wire.decode_message(b"\x80", wire.Hello)


@pytest.mark.parametrize("session", ["", "../../etc/passwd", "0" * 31, "0" * 33, "G" * 32, "a" * 32 + "\n"])
def test_session_names_are_hexadecimal(session: str) -> None:
    """They become file names of the journal."""
    with pytest.raises(PayloadError):
        wire.decode_message(wire.encode_message(wire.Hello(session=session)), wire.Hello)


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.booleans())
def test_rows_are_lsb_first_as_numpy_packs_them(bits: list[bool], erased: bool) -> None:
    row = np.packbits(bits, bitorder="little").tobytes()
    payload = row + row if erased else row
    flags = Flag.ERASED if erased else 0
    assert wire.split_row(payload, bits=len(bits), flags=flags) == (row, row if erased else None)
    for wrong in (payload + b"\0", payload[:-1]):
        with pytest.raises(PayloadError, match="bytes"):
            wire.split_row(wrong, bits=len(bits), flags=flags)
    if len(bits) % 8:
        padded = payload[:-1] + bytes([payload[-1] | 0x80])
        with pytest.raises(PayloadError, match="pad"):
            wire.split_row(padded, bits=len(bits), flags=flags)


def test_a_field_that_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match="stream=4294967296"):
        wire.encode_frame(Frame(FrameType.PING, stream=2**32))
