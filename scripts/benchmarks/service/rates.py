"""The sustainable round period of each distance and error rate, and what latency and memory do around it.

    python -m scripts.benchmarks.service.rates [--distance 3 5 7 9 13] [--p 0.001 0.003] --out FILE

Per point: one stream, commit = buffer = d, an open-loop load that counts latency from the intended send time.
The sustainable period is the smallest, within 10 %, at which the backlog stays bounded: no round waits for
credit for more than 50 ms in `--seconds`. At 70 % of that rate the percentiles of the commit latency are
taken; at 150 % a client that ignores its credit must be told OVERLOAD, and the worker's memory is watched.
Appends one JSON object a point to --out. Give the machine nothing else to do.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path

from decoder_service import ClientStream, DecoderClient
from decoder_service.client import LoadReport, run_load
from decoder_service.protocol import ErrorCode
from scripts.benchmarks.service.kit import memory, packed_rows, resident, server, wait_until_built

SHOTS = 64
QUANTILES = (50.0, 99.0, 99.9, 100.0)
LAG = 0.05
TOLERANCE = 1.1
WINDOW = 256


def main() -> None:
    """Measures every point and appends it to the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--distance", type=int, nargs="+", default=[3, 5, 7, 9, 13])
    parser.add_argument("--p", type=float, nargs="+", default=[0.001, 0.003])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--busy-poll", type=float, default=200.0, help="µs, of worker and client; 0 sleeps")
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    for distance, p in itertools.product(flags.distance, flags.p):
        point = measure(distance, p, flags.seconds, flags.busy_poll / 1e6)
        print(json.dumps(point), flush=True)
        with flags.out.open("a") as file:
            file.write(json.dumps(point) + "\n")


def measure(distance: int, p: float, seconds: float, busy_poll: float) -> dict[str, object]:
    """One point; latencies and periods in µs."""
    rounds = 8 * distance - 1
    circuit = memory(distance, rounds, p)
    with (
        server(spares=0, window=WINDOW, busy_poll=busy_poll) as running,
        running.client(timeout=600, busy_poll=busy_poll) as client,
    ):
        start = time.monotonic()
        stream = client.open(str(circuit), commit=distance, buffer=distance)
        opening = time.monotonic() - start
        wait_until_built(running)
        building = time.monotonic() - start
        shots = packed_rows(circuit.compile_sampler(seed=1).sample(SHOTS), stream.shape)
        rows = list(itertools.chain.from_iterable(shots))
        rate = closed_loop(client, stream, rows, seconds)
        while load(client, stream, rows, rate, seconds).overloaded:
            rate /= TOLERANCE
        calm = load(client, stream, rows, 0.7 * rate, 2 * seconds)
        (pid,) = running.pids
        before = resident(pid)
        overloads, most = overload(client, stream, rows, 1.5 * rate, seconds, pid)
        client.sync(stream)
    latency = {f"p{q:g}" if q < 100 else "max": _us(calm, q) for q in QUANTILES}
    return {
        "distance": distance,
        "p": p,
        "busy_poll_us": round(1e6 * busy_poll),
        "open_s": round(opening, 1),
        "built_s": round(building, 1),
        "period_us": round(1e6 / rate, 1),
        "commit_us_at_70": latency,
        "commits": calm.commit.get_total_count(),
        "overloads_at_150": overloads,
        "memory_mb": round(before / 1e6, 1),
        "memory_mb_at_150": round(most / 1e6, 1),
    }


def closed_loop(client: DecoderClient, stream: ClientStream, rows: list[bytes], seconds: float) -> float:
    """Rounds a second when the client sends whenever it has credit."""
    endless = itertools.cycle(rows)
    _to_shot_end(client, stream, rows)
    start, sent = time.monotonic(), 0
    while time.monotonic() - start < seconds or sent % len(rows):
        client.push(stream, next(endless))
        stream.outputs.clear()
        sent += 1
    client.sync(stream)
    return sent / (time.monotonic() - start)


def load(
    client: DecoderClient, stream: ClientStream, rows: list[bytes], rate: float, seconds: float
) -> LoadReport:
    """Open-loop load that begins with a shot, and ends with one unless it is too much."""
    if stream.begun:
        client.reset(stream)
        client.sync(stream)
    stream.outputs.clear()
    per_shot = stream.shape.rounds + 1
    rounds = max(1, round(rate * seconds / per_shot)) * per_shot
    return run_load(
        client, [(stream, itertools.cycle(rows))], rounds=rounds, rate=rate, max_lag=LAG, warmup=5
    )


def overload(
    client: DecoderClient, stream: ClientStream, rows: list[bytes], rate: float, seconds: float, pid: int
) -> tuple[int, int]:
    """Sends past the credit; OVERLOADs and the largest resident memory."""
    if stream.begun:
        client.reset(stream)
        client.sync(stream)
    stream.errors.clear()
    endless = itertools.cycle(rows)
    start = time.monotonic()
    sent, most = 0, 0
    while (now := time.monotonic() - start) < seconds:
        if sent < rate * now and stream.in_flight < 4 * WINDOW:
            client.send(stream.data(next(endless)))
            sent += 1
        client.poll(0)
        stream.outputs.clear()
        if sent % 512 == 0:
            most = max(most, resident(pid))
    while stream.in_flight:  # what was refused is sent again: nothing is lost
        client.sync(stream)
        stream.outputs.clear()
    refused = sum(error.code is ErrorCode.OVERLOAD for error in stream.errors)
    return refused, max(most, resident(pid))


def _to_shot_end(client: DecoderClient, stream: ClientStream, rows: list[bytes]) -> None:
    for row in rows:
        client.push(stream, row)
    client.sync(stream)
    stream.outputs.clear()


def _us(report: LoadReport, quantile: float) -> float:
    return round(report.commit.get_value_at_percentile(quantile) / 1000, 1)


if __name__ == "__main__":
    main()
