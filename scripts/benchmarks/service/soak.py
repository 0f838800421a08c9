"""A long stream: memory, numbering of the outputs and backlog.

    python -m scripts.benchmarks.service.soak [--rounds 1000000] [--distance 3] [--shot-rounds 999]

The client sends as fast as its credit allows. Prints the worker's resident memory as it goes, and at the end
its growth after the first tenth, whether every output came once and in order, and what is left in flight.
"""

from __future__ import annotations

import argparse
import sys
import time

from scripts.benchmarks.service.kit import memory, packed_rows, resident, server

SAMPLES = 20
SHOTS = 20


def main() -> int:
    """Streams, prints, and fails if something was lost or doubled or memory grew by a hundredth."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=1_000_000)
    parser.add_argument("--distance", type=int, default=3)
    parser.add_argument("--shot-rounds", type=int, default=999)
    flags = parser.parse_args()
    circuit = memory(flags.distance, flags.shot_rounds, 0.003)
    shots = circuit.compile_sampler(seed=1).sample(SHOTS)
    with server() as running, running.client() as client:
        stream = client.open(str(circuit), commit=flags.distance, buffer=flags.distance)
        rows = [row for shot in packed_rows(shots, stream.shape) for row in shot]
        (pid,) = running.pids
        start = time.monotonic()
        outputs = finals = wrong = 0
        samples: list[int] = []
        upto = 0
        for sent in range(flags.rounds + flags.rounds // flags.shot_rounds):
            client.push(stream, rows[sent % len(rows)])
            while stream.outputs:
                output = stream.outputs.popleft()
                # Within a shot commits advance; a shot ends in one RESULT; shots come in order.
                wrong += output.epoch != finals or (not output.final and output.commit.upto_round <= upto)
                upto = 0 if output.final else output.commit.upto_round
                finals += output.final
                outputs += 1
            if sent % (flags.rounds // SAMPLES) == 0:
                samples.append(resident(pid))
                print(f"{sent} rounds, {samples[-1] / 1e6:.2f} MB", flush=True)
        while stream.in_flight:
            client.sync(stream)
        outputs += len(stream.outputs)
        finals += sum(output.final for output in stream.outputs)
        stats = client.stats(stream)
        last = resident(pid)
    warm = samples[SAMPLES // 10]
    growth = last / warm - 1
    rate = flags.rounds / (time.monotonic() - start)
    print(
        f"{stats.rounds} rounds, {stats.shots} shots at {rate:.0f} rounds a second; "
        f"{outputs} outputs received, {stats.commits} made, {wrong} out of place; {finals} results; "
        f"in flight {stats.in_flight}; "
        f"memory {warm / 1e6:.2f} MB after a tenth, {last / 1e6:.2f} MB at the end: {100 * growth:+.2f} %"
    )
    return int(outputs != stats.commits or wrong > 0 or stats.in_flight > 0 or growth >= 0.01)


if __name__ == "__main__":
    sys.exit(main())
