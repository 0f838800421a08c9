"""Bytes to frames, whatever the bytes: damage comes out as typed faults, never as an exception."""

from __future__ import annotations

import enum
from typing import NamedTuple
from zlib import crc32

from decoder_service.protocol.frame import (
    CHECKED_BYTES,
    HEADER,
    HEADER_BYTES,
    MAGIC,
    VERSION,
    Frame,
    FrameType,
    Limits,
    new,
)

_TYPES = {int(kind): kind for kind in FrameType}


class FaultKind(enum.Enum):
    """Why bytes were not a frame."""

    GARBAGE = "garbage"
    """Bytes between frames, or a header whose check fails: skipped up to the next header that fits."""
    BAD_CRC = "bad-crc"
    """A sound header before a damaged payload; the fault names the frame."""
    UNKNOWN_TYPE = "unknown-type"
    BAD_VERSION = "bad-version"
    TOO_LARGE = "too-large"
    TOO_MUCH_GARBAGE = "too-much-garbage"


FATAL = frozenset({FaultKind.BAD_VERSION, FaultKind.TOO_LARGE, FaultKind.TOO_MUCH_GARBAGE})
"""After these the parser is closed: what follows cannot be trusted."""


class WireFault(NamedTuple):
    """Damage on the wire. `type` to `flags` are the header's where its check held, else zero."""

    kind: FaultKind
    detail: str
    type: int = 0
    stream: int = 0
    epoch: int = 0
    sequence: int = 0
    length: int = 0
    flags: int = 0

    @property
    def fatal(self) -> bool:
        """Whether the connection has to be closed."""
        return self.kind in FATAL


class FrameParser:
    """Incremental parser of one direction of one connection.

    Memory is bounded by the largest allowed frame plus the last chunk fed. A run of garbage is one
    fault however long it is, reported when the next sound header ends it, or when it exceeds
    `limits.garbage_bytes`.
    """

    def __init__(self, *, limits: Limits = Limits()) -> None:  # noqa: B008 - an immutable tuple
        self.limits = limits
        self.closed = False
        self._buffer = bytearray()
        self._garbage = 0
        self._payload_limits = {kind: limits.payload_limit(kind) for kind in _TYPES}

    @property
    def buffered(self) -> int:
        """Bytes held back for a frame that is not complete yet."""
        return len(self._buffer)

    def feed(self, data: bytes | bytearray | memoryview) -> list[Frame | WireFault]:
        """Frames and faults that these bytes complete, in order; nothing once the parser is closed."""
        if self.closed:
            return []
        out: list[Frame | WireFault] = []
        if not self._buffer and not self._garbage:
            data = self._sound(bytes(data), out)
            if not data:
                return out
        buffer = self._buffer
        buffer += data
        at = 0
        end = len(buffer)
        while not self.closed and end - at >= HEADER_BYTES:
            step = self._one(buffer, at, out)
            if step == 0:
                break
            at += step
        del buffer[:at]
        if self.closed:
            buffer.clear()
        return out

    def _sound(self, data: bytes, out: list[Frame | WireFault]) -> bytes:
        """Takes whole undamaged frames off the front of `data`; returns the rest, for `_one` to judge.

        What arrives is nearly always that, and this way costs half as much as the careful one.
        """
        at, end, limits = 0, len(data), self._payload_limits
        while end - at >= HEADER_BYTES:
            magic, version, kind, stream, epoch, length, sequence, crc, flags, check = HEADER.unpack_from(
                data, at
            )
            start = at + HEADER_BYTES
            stop = start + length
            if (
                magic != MAGIC
                or crc32(data[at : at + CHECKED_BYTES]) & 0xFFFF != check
                or version != VERSION
                or length > limits.get(kind, -1)
                or stop > end
            ):
                break
            payload = data[start:stop]
            if crc32(payload) != crc:
                break
            out.append(new(Frame, (_TYPES[kind], stream, epoch, sequence, payload, flags)))
            at = stop
        return data[at:]

    def _one(self, buffer: bytearray, at: int, out: list[Frame | WireFault]) -> int:
        """Handles what starts at `at`; returns the bytes it used, 0 to wait for more."""
        header = HEADER.unpack_from(buffer, at)
        magic, version, kind, stream, epoch, length, sequence, crc, flags, check = header
        if magic != MAGIC or crc32(buffer[at : at + CHECKED_BYTES]) & 0xFFFF != check:
            return self._skip(buffer, at, out)
        self._end_garbage(out)
        where = (kind, stream, epoch, sequence, length, flags)
        if version != VERSION:
            return self._close(out, WireFault(FaultKind.BAD_VERSION, f"version {version}", *where))
        limit = self._payload_limits.get(kind, self.limits.control_bytes)
        if length > limit:
            return self._close(
                out, WireFault(FaultKind.TOO_LARGE, f"payload of {length} bytes, limit {limit}", *where)
            )
        stop = at + HEADER_BYTES + length
        if stop > len(buffer):
            return 0
        if kind not in _TYPES:
            out.append(WireFault(FaultKind.UNKNOWN_TYPE, f"type {kind}", *where))
            return stop - at
        payload = bytes(buffer[at + HEADER_BYTES : stop])
        if crc32(payload) != crc:
            out.append(WireFault(FaultKind.BAD_CRC, f"{_TYPES[kind].name} payload", *where))
        else:
            out.append(Frame(_TYPES[kind], stream, epoch, sequence, payload, flags))
        return stop - at

    def _skip(self, buffer: bytearray, at: int, out: list[Frame | WireFault]) -> int:
        """Passes over bytes that start no frame, up to the next magic or what may be its first byte."""
        found = buffer.find(MAGIC, at + 1)
        step = (len(buffer) - 1 if found < 0 else found) - at
        self._garbage += step
        if self._garbage > self.limits.garbage_bytes:
            detail = f"{self._garbage} bytes without a frame, limit {self.limits.garbage_bytes}"
            return self._close(out, WireFault(FaultKind.TOO_MUCH_GARBAGE, detail))
        return step

    def _end_garbage(self, out: list[Frame | WireFault]) -> None:
        if self._garbage:
            out.append(WireFault(FaultKind.GARBAGE, f"{self._garbage} bytes skipped"))
            self._garbage = 0

    def _close(self, out: list[Frame | WireFault], fault: WireFault) -> int:
        out.append(fault)
        self.closed = True
        return HEADER_BYTES
