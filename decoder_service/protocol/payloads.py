"""Payloads of fixed binary layout (docs/protocol.md, "Payloads").

Bits are packed the way Stim's b8 is: bit i of a row is bit i % 8, least significant first, of byte
i // 8; the bits that pad the last byte are zero.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from decoder_service.protocol.frame import Flag, Frame, FrameType, new

if TYPE_CHECKING:
    from typing_extensions import Buffer

COMMIT_LAYOUT = struct.Struct("<QQQQ8sI")
"""upto_round, after, time_in, time_out, model, num_observables: what precedes the bits of a COMMIT."""
_CREDIT = struct.Struct("<II")
_NACK = struct.Struct("<QQ")
_UPLOAD = struct.Struct("<32sQQ")
_COUNT = struct.Struct("<H")
_GAP = struct.Struct("<f")

COMMIT_FIXED_BYTES = COMMIT_LAYOUT.size
UPLOAD_FIXED_BYTES = _UPLOAD.size
COUNT_BYTES = _COUNT.size
"""Before the rows of a ROUNDS or FINAL frame: their number."""
MOST_ROWS = 65535
"""Rows of one ROUNDS or FINAL frame."""
PING_BYTES = 64
"""Longest payload of a PING."""
_WITH_GAP = int(Flag.GAP)  # a plain number, for speed


class PayloadError(ValueError):
    """A payload that is not what its type, or its place in the shot, asks for."""


def packed_bytes(bits: int) -> int:
    """Bytes of a row of `bits` bits."""
    return (bits + 7) // 8


class CommitPayload(NamedTuple):
    """COMMIT and RESULT: corrections that are final for the layers of detectors below `upto_round`.

    `frame_bits` are the flips of the observables so far in this shot, LSB-first, ceil(num_observables / 8)
    bytes. `after` is the sequence of the row that allowed the commit. Times are nanoseconds of the
    server's monotonic clock: the arrival of that row's frame, and the end of decoding. `model` are the 8
    bytes of the id of the model that decoded last.
    `readout`, in the RESULT of a stream of measurements, are the observables as measured, corrected by
    `frame_bits`, in as many bytes; else it is empty.
    `gap`, in the RESULT of a stream that has gaps, are nats between the two classes of the shot's last
    window, given what was committed before: a float32, of a frame with the flag GAP.
    """

    upto_round: int
    after: int
    time_in: int
    time_out: int
    model: bytes
    num_observables: int
    frame_bits: bytes
    readout: bytes = b""
    gap: float | None = None


def encode_commit(commit: CommitPayload) -> bytes:
    """Bytes of a COMMIT or RESULT payload; with a gap, the frame's flags need GAP."""
    return (
        COMMIT_LAYOUT.pack(
            commit.upto_round,
            commit.after,
            commit.time_in,
            commit.time_out,
            commit.model,
            commit.num_observables,
        )
        + commit.frame_bits
        + commit.readout
        + (b"" if commit.gap is None else _GAP.pack(commit.gap))
    )


def decode_commit(payload: bytes, *, flags: int = 0) -> CommitPayload:
    """What a COMMIT or RESULT says.

    Args:
        payload: of the frame.
        flags: of its header; those of a frame without a gap make no difference.

    Raises:
        PayloadError: another length than its number of observables and the flag GAP ask for.
    """
    if len(payload) < COMMIT_FIXED_BYTES:
        raise PayloadError(f"COMMIT payload of {len(payload)} bytes; it has at least {COMMIT_FIXED_BYTES}")
    upto_round, after, time_in, time_out, model, num_observables = COMMIT_LAYOUT.unpack_from(payload)
    gap = None
    stop = len(payload)
    if flags & _WITH_GAP:
        stop -= _GAP.size
        if stop < COMMIT_FIXED_BYTES:
            raise PayloadError(f"RESULT payload of {len(payload)} bytes, which has no room for its gap")
        (gap,) = _GAP.unpack_from(payload, stop)
    bits = payload[COMMIT_FIXED_BYTES:stop]
    size = (num_observables + 7) >> 3
    if len(bits) not in (size, 2 * size):
        raise PayloadError(f"COMMIT of {num_observables} observables with {len(bits)} bytes of bits")
    return new(
        CommitPayload,
        (upto_round, after, time_in, time_out, model, num_observables, bits[:size], bits[size:], gap),
    )


def without_times(frame: Frame) -> Frame:
    """The frame with the times of a COMMIT or RESULT zeroed: what two runs must agree on."""
    if frame.type not in (FrameType.COMMIT, FrameType.RESULT):
        return frame
    return frame._replace(
        payload=encode_commit(
            decode_commit(frame.payload, flags=frame.flags)._replace(time_in=0, time_out=0)
        ),
        flags=frame.flags & ~Flag.RESENT,
    )


class CreditPayload(NamedTuple):
    """CREDIT: the header's epoch and sequence are the first row that was not decoded yet; the client may
    have `window` rows sent from there on. `in_flight` rows have arrived and are not decoded."""

    window: int
    in_flight: int


def encode_credit(credit: CreditPayload) -> bytes:
    """Bytes of a CREDIT payload."""
    return _CREDIT.pack(*credit)


def decode_credit(payload: bytes) -> CreditPayload:
    """Raises PayloadError for another length than 8 bytes."""
    return CreditPayload(*_unpack(_CREDIT, payload, "CREDIT"))


class NackPayload(NamedTuple):
    """NACK: `count` rows from the header's epoch and sequence on are missing (the final row is one, and
    the first round of the next epoch follows it); `deadline` nanoseconds are left to resend them."""

    count: int
    deadline: int


def encode_nack(nack: NackPayload) -> bytes:
    """Bytes of a NACK payload."""
    return _NACK.pack(*nack)


def decode_nack(payload: bytes) -> NackPayload:
    """Raises PayloadError for another length than 16 bytes."""
    return NackPayload(*_unpack(_NACK, payload, "NACK"))


class UploadPayload(NamedTuple):
    """UPLOAD: a part of a model's text; the server answers the last one with an empty part at `total`."""

    digest: bytes
    total: int
    offset: int
    part: bytes


def encode_upload(upload: UploadPayload) -> bytes:
    """Bytes of an UPLOAD payload."""
    return _UPLOAD.pack(upload.digest, upload.total, upload.offset) + upload.part


def decode_upload(payload: bytes) -> UploadPayload:
    """Raises PayloadError for a part that is too short or reaches past its total."""
    if len(payload) < UPLOAD_FIXED_BYTES:
        raise PayloadError(f"UPLOAD payload of {len(payload)} bytes; it has at least {UPLOAD_FIXED_BYTES}")
    digest, total, offset = _UPLOAD.unpack_from(payload)
    part = payload[UPLOAD_FIXED_BYTES:]
    if offset + len(part) > total:
        raise PayloadError(f"UPLOAD part ends at {offset + len(part)} of {total} bytes")
    return UploadPayload(digest, total, offset, part)


def encode_block(rows: Sequence[bytes], erased: Sequence[bool] | None = None) -> bytes:
    """Payload of a ROUNDS or FINAL frame with these packed rows; with `erased` the frame's flag is ERASED.

    Raises:
        ValueError: no rows, or more than `MOST_ROWS`.
    """
    return encode_rows(b"".join(rows), len(rows), erased)


def encode_rows(rows: Buffer, count: int, erased: Sequence[bool] | None = None) -> bytes:
    """As `encode_block`, of `count` packed rows one after the other."""
    if not 1 <= count <= MOST_ROWS:
        raise ValueError(f"a block of {count} rows; it has 1 to {MOST_ROWS}")
    mask = b"" if erased is None else packed_flags(erased)
    return b"".join([_COUNT.pack(count), rows, mask])


def packed_flags(flags: Sequence[bool]) -> bytes:
    """Booleans as a row of bits."""
    return sum(bool(flag) << at for at, flag in enumerate(flags)).to_bytes(packed_bytes(len(flags)), "little")


def block_rows(payload: bytes) -> int:
    """Number of rows that a ROUNDS or FINAL payload says it has. Raises PayloadError if it says none."""
    count = _COUNT.unpack_from(payload)[0] if len(payload) >= _COUNT.size else 0
    if not count:
        raise PayloadError(f"block of {len(payload)} bytes; it begins with its number of rows, at least 1")
    return count


def split_block(payload: bytes, *, widths: Sequence[int], flags: int) -> list[tuple[bytes, bool]]:
    """The rows of a ROUNDS or FINAL payload, packed, each with whether it is erased; those are all zero.

    Args:
        payload: of a frame.
        widths: bits of each of its `block_rows` rows.
        flags: of its header.

    Raises:
        PayloadError: another length than these rows have, or padding bits that are set.
    """
    sizes = [packed_bytes(bits) for bits in widths]
    mask_at = _COUNT.size + sum(sizes)
    expected = mask_at + (packed_bytes(len(widths)) if flags & Flag.ERASED else 0)
    if len(payload) != expected:
        raise PayloadError(f"block of {len(payload)} bytes; {len(widths)} rows from here on need {expected}")
    mask = int.from_bytes(payload[mask_at:], "little")
    if mask >> len(widths):
        raise PayloadError(f"erasure bits past the last of {len(widths)} rows are set; they must be zero")
    rows: list[tuple[bytes, bool]] = []
    at = _COUNT.size
    for place, (bits, size) in enumerate(zip(widths, sizes, strict=True)):
        row = payload[at : at + size]
        at += size
        if bits % 8 and row[-1] >> bits % 8:
            raise PayloadError(f"bits past the last of {bits} are set; they pad the byte and must be zero")
        erased = bool(mask >> place & 1)
        rows.append((bytes(size) if erased else row, erased))
    return rows


def _unpack(layout: struct.Struct, payload: bytes, name: str) -> tuple:
    if len(payload) != layout.size:
        raise PayloadError(f"{name} payload of {len(payload)} bytes; it has {layout.size}")
    return layout.unpack(payload)
