"""What lost rounds cost through the service, and that its outputs are those of decoding in process.

    python -m scripts.benchmarks.service.erasures [--distance 5] [--p 0.004] [--erased 0.05]

Shots and lost rounds are drawn as in `scripts.benchmarks.erasures.table`: raw measurements, commit =
buffer = distance. Two streams of one service get the same shots, one whole, one with its lost rounds marked
as erased and their bits set to 0. Every output of the second (number, place, bits, flags) is compared with a
decoder in this process that is given the lost bits, which must not matter. Prints the logical error rates
with both counts of discordant shots, and fails if an output differs.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from typing import Any

import numpy as np

from decoder_service import ClientStream, DecoderClient
from decoder_service.building import build_decoder
from decoder_service.protocol import Open
from qec import depolarizing, memory_circuit
from scripts.benchmarks.erasures.table import report
from scripts.benchmarks.service.kit import in_process, packed_rows, server, summary

CHUNK = 500
PER_PATTERN = 20
SEED = 5260
Lost = set[tuple[int, int]]


def main() -> int:
    """Streams until there are enough errors; prints, and fails if an output differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--distance", type=int, default=5)
    parser.add_argument("--p", type=float, default=0.004)
    parser.add_argument("--erased", type=float, default=0.05)
    parser.add_argument("--min-errors", type=int, default=500, help="of the shots without losses")
    flags = parser.parse_args()
    rounds = 5 * flags.distance
    circuit = memory_circuit(distance=flags.distance, rounds=rounds, basis="x", noise=depolarizing(flags.p))
    sizes: dict[str, Any] = {"commit": flags.distance, "buffer": flags.distance}
    decoder = build_decoder(Open(model="0" * 64, **sizes), str(circuit))
    counts: Counter[str] = Counter()
    outputs = differ = 0
    with server() as running, running.client(timeout=120) as client:
        whole, losing = (client.open(str(circuit), **sizes) for _ in range(2))
        for chunk in range(1_000_000):
            measurements = circuit.compile_sampler(seed=SEED + chunk).sample(CHUNK)
            _, truth = circuit.compile_m2d_converter().convert(
                measurements=measurements, separate_observables=True
            )
            shots = packed_rows(measurements, whole.shape)
            lost = losses(np.random.default_rng(SEED + chunk), rounds, flags.erased)
            answers = [streamed(client, stream, shots, at) for stream, at in ((whole, set()), (losing, lost))]
            expected = in_process(decoder, shots, erased=lost)
            outputs += len(expected)
            got = [(epoch - chunk * CHUNK, *rest) for epoch, *rest in answers[1]]
            differ += sum(a != b for a, b in zip(got, expected, strict=True))
            wrong = [
                np.array([frame[0] & 1 for _, final, _, frame, *_ in found if final]) != truth[:, 0]
                for found in answers
            ]
            counts.update(
                shots=CHUNK,
                errors=int(wrong[0].sum()),
                errors_erased=int(wrong[1].sum()),
                only_erased_wrong=int((wrong[1] & ~wrong[0]).sum()),
                only_whole_wrong=int((wrong[0] & ~wrong[1]).sum()),
                lost=len(lost),
            )
            if counts["errors"] >= flags.min_errors:
                break
    cell = {"distance": flags.distance, "p": flags.p, "rounds": rounds, "erased": flags.erased}
    print(report([{**cell, "decoder": "pymatching", **counts}]))
    print(f"{outputs} outputs with lost rounds, {differ} differ from decoding in process")
    return int(differ > 0)


def losses(random: np.random.Generator, rounds: int, rate: float) -> Lost:
    """(shot, round) of a chunk; a pattern serves several shots, and the last round is never lost."""
    patterns = random.random((-(-CHUNK // PER_PATTERN), rounds)) < rate
    return {(shot, int(at)) for shot in range(CHUNK) for at in np.flatnonzero(patterns[shot // PER_PATTERN])}


def streamed(
    client: DecoderClient, stream: ClientStream, shots: list[list[bytes]], lost: Lost
) -> list[tuple[Any, ...]]:
    """Summaries of the outputs of shots whose lost rounds come erased, and without their bits."""
    target = stream.epoch + len(shots)
    for shot, rows in enumerate(shots):
        for sequence, row in enumerate(rows):
            if (shot, sequence) in lost:
                client.push(stream, bytes(len(row)), erased=True)
            else:
                client.push(stream, row)
    while stream.in_flight and stream.epoch == target:
        client.sync(stream)
    found = [summary(output) for output in stream.outputs]
    stream.outputs.clear()
    return found


if __name__ == "__main__":
    sys.exit(main())
