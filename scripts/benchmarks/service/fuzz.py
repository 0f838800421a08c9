"""Frames that are wrong in every way, at a live service.

    python -m scripts.benchmarks.service.fuzz [--frames 1000000]

Random, mutated, cut and repeated frames of all types over many connections to a few sessions with an open
stream, and beside them a client whose shots must come out as in process. Prints how many were answered (by
code), how many connections were closed, and the memory of the worker, which must neither die nor grow.
"""

from __future__ import annotations

import argparse
import collections
import random
import socket
import sys
import zlib

from decoder_service.building import build_decoder
from decoder_service.protocol import (
    Error,
    Flag,
    Frame,
    FrameParser,
    FrameType,
    Hello,
    Open,
    PayloadError,
    decode_message,
    encode_frame,
    encode_message,
)
from scripts.benchmarks.service.kit import (
    in_process,
    memory,
    packed_rows,
    resident,
    send_shots,
    server,
    summary,
)

CIRCUIT = memory(3, 7, 0.005)
OPTIONS = {"commit": 2, "buffer": 2}
PER_CONNECTION = 2000
CLEAN_SHOTS = 5
SESSIONS = 8


def main() -> int:
    """Fuzzes; fails if the worker died or grew by a tenth, or the other client noticed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=1_000_000)
    flags = parser.parse_args()
    rng = random.Random(1)
    decoder = build_decoder(Open(model="0" * 64, **OPTIONS), str(CIRCUIT))  # type: ignore[arg-type]
    answers: collections.Counter[str] = collections.Counter()
    connections = closed = sent = 0
    sizes: list[int] = []
    with server(faults=100, linger=2.0) as running, running.client() as client:
        (pid,) = running.pids
        stream = client.open(str(CIRCUIT), **OPTIONS)
        digest = stream.opened.model if stream.opened else ""
        count = 40 * CLEAN_SHOTS
        shots = packed_rows(CIRCUIT.compile_sampler(seed=2).sample(count), decoder.shape)
        while sent < flags.frames:
            number, ended = fuzz(str(running.path), rng, digest, answers)
            sent += number
            closed += ended
            connections += 1
            if len(sizes) * (flags.frames // 40) <= sent and len(sizes) < 40:
                send_shots(client, stream, shots[len(sizes) * CLEAN_SHOTS :][:CLEAN_SHOTS])
                sizes.append(resident(pid))
        got = list(map(summary, stream.outputs))
        alive = running.pids == [pid] and running.front_end.supervisor.restarts == 0
        last = resident(pid)
    equal = got == in_process(decoder, shots[: len(sizes) * CLEAN_SHOTS])
    growth = last / sizes[len(sizes) // 4] - 1
    print(
        f"{sent} frames over {connections} connections, {closed} closed by the service; "
        f"worker alive: {alive}; the other client's outputs equal: {equal}; memory "
        f"{sizes[len(sizes) // 4] / 1e6:.1f} MB after a quarter, {last / 1e6:.1f} at the end: "
        f"{100 * growth:+.1f} %"
    )
    print("memory, MB: " + " ".join(f"{size / 1e6:.0f}" for size in sizes))
    print("answers: " + ", ".join(f"{name} {number}" for name, number in sorted(answers.items())))
    return int(not (alive and equal and growth < 0.1))


def fuzz(path: str, rng: random.Random, digest: str, answers: collections.Counter[str]) -> tuple[int, bool]:
    """Frames over one connection; how many were sent, and whether the service closed it."""
    parser = FrameParser()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        hello = Hello(session=f"{rng.randrange(SESSIONS):032x}")
        data = encode_frame(Frame(FrameType.HELLO, payload=encode_message(hello)))
        options = encode_message(Open(model=digest, commit=2, buffer=2))
        if rng.random() < 0.3:
            data += encode_frame(Frame(FrameType.OPEN, 0, payload=options))
        sock.sendall(data)
        sock.settimeout(10)
        for count in range(0, PER_CONNECTION, 20):
            try:
                sock.sendall(b"".join(fuzzed(rng) for _ in range(20)))
                if count % 100 == 0:
                    sock.sendall(encode_frame(Frame(FrameType.PING, 77, sequence=count)) * 40)
                    read = sock.recv(1 << 18)
                    tally(parser, read, answers)
                    if not read:
                        return count, True
            except OSError:
                return count, True
        return PER_CONNECTION, False


def tally(parser: FrameParser, data: bytes, answers: collections.Counter[str]) -> None:
    """Counts answers by type, and errors by code."""
    for item in parser.feed(data):
        if not isinstance(item, Frame):
            answers["damaged answer"] += 1
            continue
        name = item.type.name
        if item.type == FrameType.ERROR:
            try:
                name = decode_message(item.payload, Error).code.name
            except PayloadError:
                name = "unreadable ERROR"
        answers[name] += 1


def fuzzed(rng: random.Random) -> bytes:
    """Something like a frame."""
    frame = Frame(
        rng.choice(list(FrameType)),
        rng.choice([0, 0, 0, 1, rng.getrandbits(32) & 0x7FFFFFFF]),
        rng.choice([0, 0, 1, rng.getrandbits(32)]),
        rng.choice([0, 1, 2, 3, 7, rng.getrandbits(64)]),
        rng.randbytes(rng.choice([0, 1, 1, 2, 60])),
        rng.choice([0, 0, Flag.ERASED, Flag.RESENT, rng.getrandbits(16)]),
    )
    if frame.type == FrameType.CLOSE and rng.random() < 0.99:
        frame = frame._replace(stream=1)  # stream 0 is to stay open
    data = bytearray(encode_frame(frame))
    how = rng.randrange(40)
    if how == 0:
        return rng.randbytes(rng.randrange(100))
    if how == 1:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif how == 2:
        return bytes(data[: rng.randrange(len(data))])
    elif how == 3:
        data[rng.choice([3, 3, 3, 4, 8, 16])] = rng.randrange(256)
        data[30:32] = (zlib.crc32(data[:30]) & 0xFFFF).to_bytes(2, "little")
    elif how == 4:
        return bytes(data * 2)
    return bytes(data)


if __name__ == "__main__":
    sys.exit(main())
