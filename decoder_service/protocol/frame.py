"""One frame: a 32-byte little-endian header and a payload (docs/protocol.md, "Frames").

Two checksums, so that damage costs one frame and not the connection: the header's own check says
whether `length` can be trusted, the payload's CRC-32 whether the payload can.
"""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple
from zlib import crc32

MAGIC = b"QD"
VERSION = 2
HEADER = struct.Struct("<2sBBIIIQIHH")
"""magic, version, type, stream, epoch, length, sequence, payload CRC-32, flags, header check."""
HEADER_BYTES = HEADER.size
CHECKED = struct.Struct("<2sBBIIIQIH")
CHECK = struct.Struct("<H")
CHECKED_BYTES = CHECKED.size
"""The header check covers this prefix of the header: everything but itself."""
new = tuple.__new__
"""`new(Frame, (...))`, all fields given: half of what `Frame(...)` costs, which is a call of Python."""


class FrameType(enum.IntEnum):
    """What a frame is; the sender's side decides what HELLO, CREDIT, RESET, RELOAD, CLOSE mean."""

    HELLO = 1
    OPEN = 2
    OPENED = 3
    ROUNDS = 4
    FINAL = 5
    COMMIT = 6
    RESULT = 7
    CREDIT = 8
    NACK = 9
    RESET = 10
    RELOAD = 11
    ERROR = 12
    STATS = 13
    PING = 14
    CLOSE = 15
    UPLOAD = 16


class Flag(enum.IntFlag):
    """Bits of the header's flags."""

    ERASED = 0x0001
    """ROUNDS, FINAL: a bit a row follows the rows: rows that carry no information."""
    DEGRADED = 0x0002
    """COMMIT, RESULT: a round that was decoded as erased contributed, now or earlier in this shot."""
    FAILED = 0x0004
    """RESULT: the shot was abandoned; its Pauli-frame bits say nothing."""
    CONFLICT = 0x0008
    """COMMIT, RESULT: two different frames claimed one place in this shot; the first was used."""
    RESENT = 0x0010
    """The same frame was sent before; comparing duplicates ignores this bit."""
    SYNTHETIC = 0x0020
    """ROUNDS, RESET in a journal: made by the server in place of what did not arrive."""
    RELOADED = 0x0040
    """COMMIT, RESULT: another model than the one the shot began with contributed."""
    GAP = 0x0080
    """RESULT: the payload ends with a gap, as OPEN asked for."""


class Frame(NamedTuple):
    """A frame as the program sees it; `payload` is exactly the bytes on the wire.

    `stream` and `epoch` are in [0, 2**32), `sequence` in [0, 2**64), `flags` in [0, 2**16).
    """

    type: FrameType
    stream: int = 0
    epoch: int = 0
    sequence: int = 0
    payload: bytes = b""
    flags: int = 0


def encode_frame(frame: Frame) -> bytes:
    """The bytes of a frame.

    Raises:
        ValueError: a field does not fit its width.
    """
    kind, stream, epoch, sequence, payload, flags = frame
    return encode_fields(kind, stream, epoch, sequence, payload, flags)


def encode_fields(kind: int, stream: int, epoch: int, sequence: int, payload: bytes, flags: int) -> bytes:
    """As `encode_frame`, of the fields of a frame, where none is at hand."""
    try:
        checked = CHECKED.pack(
            MAGIC, VERSION, kind, stream, epoch, len(payload), sequence, crc32(payload), flags
        )
    except struct.error as error:
        fields = f"{kind=}, {stream=}, {epoch=}, {sequence=}, {flags=}"
        raise ValueError(f"{fields} do not fit the frame header: {error}") from error
    return checked + CHECK.pack(crc32(checked) & 0xFFFF) + payload


class Limits(NamedTuple):
    """What one peer accepts of the other; announced in HELLO."""

    round_bytes: int = 1 << 16
    """Payload of ROUNDS and FINAL."""
    control_bytes: int = 1 << 16
    """Payload of every other type but UPLOAD."""
    upload_bytes: int = 1 << 18
    """Payload of one UPLOAD chunk."""
    garbage_bytes: int = 1 << 16
    """Bytes without any frame in them after which the connection is abandoned."""

    def payload_limit(self, kind: int) -> int:
        """Largest payload of a frame of this type number, in bytes."""
        if kind in (FrameType.ROUNDS, FrameType.FINAL):
            return self.round_bytes
        return self.upload_bytes if kind == FrameType.UPLOAD else self.control_bytes
