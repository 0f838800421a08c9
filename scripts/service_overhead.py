"""What the service adds to decoding in this process: the same rounds, one at a time, both ways.

    python scripts/service_overhead.py [--distance 5] [--shots 300] [--tcp]

Prints, for the rounds that lead to a commit, the time in process, the time from sending the round to having
the COMMIT, and their difference, at p50 and p99 in µs. Give the machine nothing else to do.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import tempfile
import time
from pathlib import Path

import numpy as np
import stim

from decoder_service import DecoderClient, Front, ServerConfig, TcpAddress, WorkerConfig
from decoder_service.server.decoding import build_decoder
from decoder_service.session import StreamShape
from decoder_service.wire import Open

ROUNDS = 21


def main() -> None:
    """Runs both ways and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--distance", type=int, default=5)
    parser.add_argument("--p", type=float, default=0.003)
    parser.add_argument("--shots", type=int, default=300)
    parser.add_argument("--tcp", action="store_true")
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
            if decoder.push(sequence, row, None, 0):
                alone.append(time.perf_counter() - start)
                commits.add(sequence)
        decoder.finish(rows[-1], 0)
    served = asyncio.run(_serve(flags, str(circuit), shots, commits))
    for quantile in (50, 99):
        inside, outside = (np.percentile(np.array(times) * 1e6, quantile) for times in (alone, served))
        print(f"p{quantile}: in process {inside:.1f} µs, service {outside:.1f}, adds {outside - inside:.1f}")


async def _serve(
    flags: argparse.Namespace, text: str, shots: list[list[bytes]], commits: set[int]
) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        config = ServerConfig(
            worker=WorkerConfig(state=str(Path(folder) / "state")),
            unix=None if flags.tcp else Path(folder) / "s",
            tcp=TcpAddress("127.0.0.1", 0) if flags.tcp else None,
            spares=0,
        )
        async with Front(config) as front:
            address = ("127.0.0.1", front.tcp_port or 0) if flags.tcp else str(Path(folder) / "s")
            return await asyncio.to_thread(_client, address, text, flags.distance, shots, commits)


def _client(
    address: str | tuple[str, int], text: str, distance: int, shots: list[list[bytes]], commits: set[int]
) -> list[float]:
    times: list[float] = []
    with DecoderClient(address) as client:
        stream = client.open(text, commit=distance, buffer=distance)
        for rows in shots:
            for sequence, row in enumerate(rows[:-1]):
                start = time.perf_counter()
                client.push(stream, row)
                if sequence in commits:
                    while not stream.outputs:
                        client.poll(1)
                    times.append(time.perf_counter() - start)
                    stream.outputs.clear()
                else:
                    client.sync(stream)  # a round that is still being handled must not delay the next one
            client.finish(stream, rows[-1])
            stream.outputs.clear()
    return times


def _rows(shot: np.ndarray, shape: StreamShape) -> list[bytes]:
    edges = np.cumsum([0, *(shape.bits(sequence) for sequence in range(shape.rounds + 1))])
    return [np.packbits(shot[a:b], bitorder="little").tobytes() for a, b in itertools.pairwise(edges)]


if __name__ == "__main__":
    main()
