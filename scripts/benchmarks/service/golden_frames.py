"""Write tests/decoder_service/protocol/golden_frames.json: one frame of every type, byte for byte.

    python -m scripts.benchmarks.service.golden_frames [FILE]

An implementation of docs/protocol.md in another language can check itself against this file:
each entry has the frame's fields, what the payload says, and the bytes in hexadecimal. It changes only
with the protocol's version.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from decoder_service import protocol
from decoder_service.protocol import Flag, Frame, FrameType

GOLDEN_FILE = Path(__file__).resolve().parents[3] / "tests/decoder_service/protocol/golden_frames.json"
SESSION = "00112233445566778899aabbccddeeff"
MODEL = bytes(range(32))


def _control(kind: FrameType, message: msgspec.Struct, **where: int) -> tuple[Frame, Any]:
    return Frame(kind, payload=protocol.encode_message(message), **where), msgspec.to_builtins(message)


def _frames() -> Iterator[tuple[str, tuple[Frame, Any]]]:
    """A name, a frame, and what its payload says, of every type and use of it."""
    yield from _before_rounds()
    yield from _rows()
    yield from _outputs()
    yield from _of_a_running_stream()


def _before_rounds() -> Iterator[tuple[str, tuple[Frame, Any]]]:
    hello = protocol.Hello(session=SESSION, client="golden", token="secret")
    yield "client hello", _control(FrameType.HELLO, hello)
    welcome = protocol.Welcome("qecpipe", False, 65536, 65536, 262144, 1 << 26, 64, 10**12)
    yield "server hello", _control(FrameType.HELLO, welcome)
    part = protocol.UploadPayload(MODEL, 15, 0, b"error(0.1) D0\n#")
    yield "upload", (Frame(FrameType.UPLOAD, payload=protocol.encode_upload(part)), part.part.hex())
    stored = protocol.UploadPayload(MODEL, 15, 15, b"")
    yield "upload stored", (Frame(FrameType.UPLOAD, payload=protocol.encode_upload(stored)), "")
    asks = protocol.Open(model=MODEL.hex(), kind="dem", commit=3, buffer=3)
    yield "open", _control(FrameType.OPEN, asks, stream=7)
    asks = protocol.Open(model=MODEL.hex(), kind="dem", commit=3, buffer=3, gap=True)
    yield "open with gaps", _control(FrameType.OPEN, asks, stream=8)
    layers = [(1, 4), (3, 8)]
    opened = protocol.Opened(MODEL.hex(), MODEL[:8].hex(), 4, layers, 4, 1, 256, 5, 0, 0, 50_000_000)
    yield "opened", _control(FrameType.OPENED, opened, stream=7, epoch=5)


def _rows() -> Iterator[tuple[str, tuple[Frame, Any]]]:
    one = protocol.encode_block([bytes([0b10000001])])
    yield "one round", (Frame(FrameType.ROUNDS, 7, 5, 1, one), "round 1: bits 0 and 7")
    two = protocol.encode_block([bytes([0b11]), bytes([0b10000001])])
    yield "two rounds", (Frame(FrameType.ROUNDS, 7, 5, 0, two), "round 0: bits 0 and 1; round 1: 0 and 7")
    erased = protocol.encode_block([b"\1", b"\0"], [False, True])
    frame = Frame(FrameType.ROUNDS, 7, 5, 2, erased, Flag.ERASED)
    yield "two rounds, one erased", (frame, "round 2: bit 0; round 3 is erased")
    final = protocol.encode_block([bytes([0b1010])])
    yield "final row", (Frame(FrameType.FINAL, 7, 5, 4, final, Flag.RESENT), "bits 1 and 3")
    ending = protocol.encode_block([b"\0", bytes([0b1010])])
    yield "end of a shot", (Frame(FrameType.FINAL, 7, 5, 3, ending), "round 3: none; final row: bits 1 and 3")


def _outputs() -> Iterator[tuple[str, tuple[Frame, Any]]]:
    commit = protocol.CommitPayload(3, 4, 1_000_000_000, 1_000_004_321, MODEL[:8], 1, b"\x01")
    frame = Frame(FrameType.COMMIT, 7, 5, 9, protocol.encode_commit(commit), Flag.DEGRADED)
    yield "commit", (frame, "observable 0")
    result = commit._replace(upto_round=5, time_out=1_000_009_999, readout=b"\x00")
    frame = Frame(FrameType.RESULT, 7, 5, 10, protocol.encode_commit(result))
    yield "result", (frame, "observable 0 flipped to 0")
    sure = protocol.encode_commit(result._replace(gap=6.25))
    yield "result with a gap", (Frame(FrameType.RESULT, 7, 5, 11, sure, Flag.GAP), "6.25 nats")


def _of_a_running_stream() -> Iterator[tuple[str, tuple[Frame, Any]]]:
    credit = protocol.CreditPayload(256, 3)
    yield "credit", (Frame(FrameType.CREDIT, 7, 5, 4, protocol.encode_credit(credit)), credit._asdict())
    nack = protocol.NackPayload(2, 49_000_000)
    yield "nack", (Frame(FrameType.NACK, 7, 5, 2, protocol.encode_nack(nack)), nack._asdict())
    yield "reset", (Frame(FrameType.RESET, 7, 6), "shots before epoch 6 are given up")
    yield "reload", _control(FrameType.RELOAD, protocol.Reload(model=MODEL.hex()), stream=7)
    reloaded = protocol.Reloaded(model=MODEL.hex(), model_id=MODEL[:8].hex(), at_round=3)
    yield "reloaded", _control(FrameType.RELOAD, reloaded, stream=7, epoch=6)
    error = protocol.Error(protocol.ErrorCode.OVERLOAD, "frame", "257 frames in flight, window 256")
    yield "error", _control(FrameType.ERROR, error, stream=7, epoch=6, sequence=257)
    several = protocol.Error(protocol.ErrorCode.CONFLICT, "frame", "other bits were accepted here", 3)
    yield "error of three rows", _control(FrameType.ERROR, several, stream=7, epoch=6, sequence=1)
    yield "stats request", (Frame(FrameType.STATS, 7), "")
    yield "stats", _control(FrameType.STATS, protocol.Stats(rounds=5, shots=1, commits=2), stream=7)
    yield "ping", (Frame(FrameType.PING, 7, sequence=1, payload=b"any bytes"), "echoed")
    yield "close", _control(FrameType.CLOSE, protocol.Close(), stream=7)


def golden_text() -> str:
    """The content of the file."""
    entries = [
        {
            "name": name,
            "type": frame.type.name,
            "stream": frame.stream,
            "epoch": frame.epoch,
            "sequence": frame.sequence,
            "flags": int(frame.flags),
            "payload": frame.payload.hex(),
            "says": says,
            "frame": protocol.encode_frame(frame).hex(),
        }
        for name, (frame, says) in _frames()
    ]
    return json.dumps(entries, indent=1) + "\n"


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDEN_FILE
    target.write_text(golden_text())
    print(f"wrote {target}")
