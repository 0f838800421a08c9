"""Binary payloads and control messages: round trips, and typed errors for everything else."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoder_service import protocol
from decoder_service.protocol import Flag, Frame, FrameType, PayloadError

u64 = st.integers(0, 2**64 - 1)
DECODERS = [protocol.decode_commit, protocol.decode_credit, protocol.decode_nack, protocol.decode_upload]
MESSAGES = [
    protocol.Hello,
    protocol.Welcome,
    protocol.Open,
    protocol.Opened,
    protocol.Reload,
    protocol.Reloaded,
    protocol.Error,
    protocol.Stats,
    protocol.Close,
]


@given(u64, u64, u64, st.binary(min_size=8, max_size=8), st.integers(0, 40))
def test_commit_round_trip(upto: int, start: int, end: int, model: bytes, observables: int) -> None:
    bits = bytes(range(protocol.packed_bytes(observables)))
    commit = protocol.CommitPayload(upto, start ^ end, start, end, model, observables, bits)
    assert protocol.decode_commit(protocol.encode_commit(commit)) == commit
    result = commit._replace(readout=bits)
    assert protocol.decode_commit(protocol.encode_commit(result)) == result
    frame = Frame(FrameType.COMMIT, payload=protocol.encode_commit(commit))
    assert protocol.decode_commit(protocol.without_times(frame).payload) == commit._replace(
        time_in=0, time_out=0
    )
    for sure in (commit._replace(gap=2.5), result._replace(gap=float("inf"))):
        frame = Frame(FrameType.RESULT, payload=protocol.encode_commit(sure), flags=int(Flag.GAP))
        assert protocol.decode_commit(frame.payload, flags=frame.flags) == sure
        again = protocol.without_times(frame)
        assert protocol.decode_commit(again.payload, flags=again.flags).gap == sure.gap


@pytest.mark.parametrize("size", [0, 44, 47, 48, 51])
def test_a_flag_without_its_gap_is_a_payload_error(size: int) -> None:
    """Of one observable it is 49 bytes, or 50 with the readout."""
    payload = protocol.encode_commit(protocol.CommitPayload(1, 1, 0, 0, bytes(8), 1, b"\1"))[:44] + bytes(9)
    with pytest.raises(PayloadError):
        protocol.decode_commit(payload[:size], flags=Flag.GAP)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), u64, u64, st.binary(max_size=50))
def test_small_payloads_round_trip(window: int, flight: int, count: int, wait: int, part: bytes) -> None:
    credit = protocol.CreditPayload(window, flight)
    nack = protocol.NackPayload(count, wait)
    upload = protocol.UploadPayload(bytes(32), 7 + len(part), 7, part)
    assert protocol.decode_credit(protocol.encode_credit(credit)) == credit
    assert protocol.decode_nack(protocol.encode_nack(nack)) == nack
    assert protocol.decode_upload(protocol.encode_upload(upload)) == upload


@pytest.mark.parametrize("decode", DECODERS, ids=lambda decode: decode.__name__)
@given(payload=st.binary(max_size=80))
def test_any_bytes_decode_or_raise_payload_error(decode, payload: bytes) -> None:
    with contextlib.suppress(PayloadError):
        decode(payload)


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
@given(payload=st.binary(max_size=60))
def test_any_bytes_are_a_message_or_raise_payload_error(kind, payload: bytes) -> None:
    with contextlib.suppress(PayloadError):
        protocol.decode_message(payload, kind)


def test_deep_nesting_is_a_payload_error() -> None:
    with pytest.raises(PayloadError, match="not a Stats message"):
        protocol.decode_message(b"\x91" * 60_000, protocol.Stats)


def test_unknown_keys_are_ignored_and_missing_ones_named() -> None:
    assert protocol.decode_message(b"\x81\xa5later\x01", protocol.Stats) == protocol.Stats()
    with pytest.raises(PayloadError, match="session"):
        protocol.decode_message(b"\x80", protocol.Hello)


@pytest.mark.parametrize("session", ["", "../../etc/passwd", "0" * 31, "0" * 33, "G" * 32, "a" * 32 + "\n"])
def test_session_names_are_hexadecimal(session: str) -> None:
    """They become file names of the journal."""
    with pytest.raises(PayloadError):
        protocol.decode_message(protocol.encode_message(protocol.Hello(session=session)), protocol.Hello)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 2**20), st.booleans()), min_size=1, max_size=20))
def test_blocks_round_trip_and_every_other_length_is_refused(given: list[tuple[int, int, bool]]) -> None:
    widths = [bits for bits, _, _ in given]
    rows = [(value % 2**bits).to_bytes((bits + 7) // 8, "little") for bits, value, _ in given]
    plain = protocol.encode_block(rows)
    assert protocol.block_rows(plain) == len(rows)
    assert protocol.split_block(plain, widths=widths, flags=0) == [(row, False) for row in rows]
    erased = [flag for _, _, flag in given]
    payload = protocol.encode_block(rows, erased)
    assert protocol.split_block(payload, widths=widths, flags=Flag.ERASED) == [
        (bytes(len(row)) if flag else row, flag) for row, flag in zip(rows, erased, strict=True)
    ]
    for wrong in (payload + b"\0", payload[:-1]):
        with pytest.raises(PayloadError, match="bytes"):
            protocol.split_block(wrong, widths=widths, flags=Flag.ERASED)
    if len(rows) % 8:
        with pytest.raises(PayloadError, match="erasure bits"):
            protocol.split_block(payload[:-1] + bytes([payload[-1] | 0x80]), widths=widths, flags=Flag.ERASED)


def test_rows_are_lsb_first_as_numpy_packs_them_and_padding_is_zero() -> None:
    row = np.packbits([1, 0, 0, 0, 0, 0, 0, 0, 0, 1], bitorder="little").tobytes()
    assert protocol.split_block(b"\1\0" + row, widths=[10], flags=0) == [(b"\x01\x02", False)]
    with pytest.raises(PayloadError, match="pad"):
        protocol.split_block(b"\1\0\x01\x82", widths=[10], flags=0)


@pytest.mark.parametrize("payload", [b"", b"\1", b"\0\0", b"\0\0\1"])
def test_a_block_has_at_least_one_row(payload: bytes) -> None:
    with pytest.raises(PayloadError, match="at least 1"):
        protocol.block_rows(payload)


@pytest.mark.parametrize("count", [0, protocol.MOST_ROWS + 1])
def test_a_block_that_its_count_does_not_fit_is_not_made(count: int) -> None:
    with pytest.raises(ValueError, match=f"block of {count} rows"):
        protocol.encode_rows(bytes(count), count)


def test_a_field_that_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match="stream=4294967296"):
        protocol.encode_frame(Frame(FrameType.PING, stream=2**32))
