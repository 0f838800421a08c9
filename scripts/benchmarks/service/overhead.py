"""What the service adds to decoding in this process: the same rounds, one at a time, both ways.

    python -m scripts.benchmarks.service.overhead [--distance 5] [--shots 300] [--tcp] [--busy-poll 200]

Prints, for the rounds that lead to a commit, at p50 and p99 in µs: the time in process in a loop that
does nothing else; the same between the service's rounds, one by one, so that caches are as cold as a
worker's that has waited; the time from sending the round to having the COMMIT; what that is above
either; the same less what the COMMIT says its decoding took; and, as the floor, a bare exchange of as
many bytes between two Python processes that poll or sleep alike. Give the machine nothing else to do.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import multiprocessing
import select
import socket
import tempfile
import time
from pathlib import Path

import numpy as np
import stim

from decoder_service import DecoderClient, ServerConfig, ServerFrontEnd, TcpAddress, WorkerConfig
from decoder_service.client.link import receive, send_all
from decoder_service.protocol import HEADER_BYTES, Open
from decoder_service.server.building import build_decoder
from decoder_service.session import StreamShape

ROUNDS = 21
COMMIT_BYTES = HEADER_BYTES + 45
EXCHANGES = 5000


def main() -> None:
    """Runs both ways and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--distance", type=int, default=5)
    parser.add_argument("--p", type=float, default=0.003)
    parser.add_argument("--shots", type=int, default=300)
    parser.add_argument("--tcp", action="store_true")
    parser.add_argument("--busy-poll", type=float, default=200.0, help="µs, of worker and client; 0 sleeps")
    flags = parser.parse_args()
    circuit = stim.Circuit.generated(
        "surface_code:rotated_memory_x",
        distance=flags.distance,
        rounds=ROUNDS,
        after_clifford_depolarization=flags.p,
        before_measure_flip_probability=flags.p,
    )
    options = Open(model="0" * 64, commit=flags.distance, buffer=flags.distance)
    decoder = build_decoder(options, str(circuit))
    shots = [_rows(shot, decoder.shape) for shot in circuit.compile_sampler(seed=1).sample(flags.shots)]
    alone: list[float] = []
    commits: set[int] = set()
    for epoch, rows in enumerate(shots):
        decoder.open(epoch)
        for sequence, row in enumerate(rows[:-1]):
            start = time.perf_counter()
            if decoder.push(sequence, row, False, 0):
                alone.append(time.perf_counter() - start)
                commits.add(sequence)
        decoder.finish(rows[-1], 0)
    served, beside, between = asyncio.run(_serve(flags, str(circuit), shots, commits))
    floor = _floor(tcp=flags.tcp, busy_poll=flags.busy_poll / 1e6, row_bytes=HEADER_BYTES + len(shots[0][1]))
    for quantile in (50, 99):
        inside, cold, outside, rest, bare = (
            np.percentile(np.array(times) * 1e6, quantile)
            for times in (alone, between, served, beside, floor)
        )
        print(
            f"p{quantile}: in process {inside:.1f} µs in a loop, {cold:.1f} between; service {outside:.1f}, "
            f"adds {outside - inside:.1f}, {outside - cold:.1f}; beside its own decoding {rest:.1f}; "
            f"bare exchange {bare:.1f}"
        )


async def _serve(
    flags: argparse.Namespace, text: str, shots: list[list[bytes]], commits: set[int]
) -> tuple[list[float], list[float], list[float]]:
    with tempfile.TemporaryDirectory() as folder:
        config = ServerConfig(
            worker=WorkerConfig(state=str(Path(folder) / "state"), busy_poll=flags.busy_poll / 1e6),
            unix=None if flags.tcp else Path(folder) / "s",
            tcp=TcpAddress("127.0.0.1", 0) if flags.tcp else None,
        )
        async with ServerFrontEnd(config) as front_end:
            address = ("127.0.0.1", front_end.tcp_port or 0) if flags.tcp else str(Path(folder) / "s")
            return await asyncio.to_thread(_client, address, text, flags, shots, commits)


def _client(
    address: str | tuple[str, int],
    text: str,
    flags: argparse.Namespace,
    shots: list[list[bytes]],
    commits: set[int],
) -> tuple[list[float], list[float], list[float]]:
    times: list[float] = []
    beside: list[float] = []
    between: list[float] = []
    decoder = build_decoder(Open(model="0" * 64, commit=flags.distance, buffer=flags.distance), text)
    with DecoderClient(address, busy_poll=flags.busy_poll / 1e6) as client:
        stream = client.open(text, commit=flags.distance, buffer=flags.distance)
        for epoch, rows in enumerate(shots):
            decoder.open(epoch)
            for sequence, row in enumerate(rows[:-1]):
                start = time.perf_counter()
                client.push(stream, row)
                if sequence in commits:
                    while not stream.outputs:
                        client.poll(1)
                    times.append(time.perf_counter() - start)
                    commit = stream.outputs.popleft().commit
                    beside.append(times[-1] - (commit.time_out - commit.time_in) / 1e9)
                else:
                    client.sync(stream)  # a round that is still being handled must not delay the next one
                start = time.perf_counter()
                decoder.push(sequence, row, False, 0)
                if sequence in commits:
                    between.append(time.perf_counter() - start)
            client.finish(stream, rows[-1])
            stream.outputs.clear()
    return times, beside, between


def _floor(*, tcp: bool, busy_poll: float, row_bytes: int) -> list[float]:
    """Seconds of exchanges of bytes alone, with the same calls."""
    ours, theirs = _tcp_pair() if tcp else socket.socketpair()
    echo = multiprocessing.get_context("fork").Process(target=_echo, args=(theirs, ours, busy_poll))
    echo.start()
    theirs.close()
    times: list[float] = []
    row = bytes(row_bytes)
    for _ in range(EXCHANGES):
        start = time.perf_counter()
        send_all(ours, row, timeout=5)
        receive(ours, timeout=5, busy_poll=busy_poll)
        times.append(time.perf_counter() - start)
    ours.close()
    echo.join()
    return times


def _echo(sock: socket.socket, other: socket.socket, busy_poll: float) -> None:
    other.close()
    poll = select.epoll()
    poll.register(sock.fileno(), select.EPOLLIN)
    answer = bytes(COMMIT_BYTES)
    while True:
        until = time.monotonic() + busy_poll
        while not poll.poll(0) and time.monotonic() < until:
            pass
        poll.poll()
        if not sock.recv(1 << 16):
            return
        sock.send(answer)


def _tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    for sock in (ours, theirs):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ours, theirs


def _rows(shot: np.ndarray, shape: StreamShape) -> list[bytes]:
    edges = np.cumsum([0, *(shape.bits(sequence) for sequence in range(shape.rounds + 1))])
    return [np.packbits(shot[a:b], bitorder="little").tobytes() for a, b in itertools.pairwise(edges)]


if __name__ == "__main__":
    main()
