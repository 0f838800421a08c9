"""A network in a stream = the network on whole shots, then windows: frames of many shots compared.

    python -m scripts.benchmarks.service.predecoded [--shots 10000] [--distance 3] [--rounds 15]

For the shipped weights `accurate` and `fast`, before pymatching and pymatching-correlated: the final
frame of `StreamDecoder(predecoder=...)`, pushed round by round, against the same network and policy (a
stream's: threshold or complete) on whole shots before `WindowedDecoder`, in one batch. Prints
how many are equal, and how many either gets wrong; beside them, how many the policy for whole shots
(`PredecodedDecoder`, policy 'auto') gets wrong, which in front of correlated matching a stream does not have.
"""

from __future__ import annotations

import argparse
import itertools
import time

import numpy as np
import stim

from decoder_service import StreamDecoder
from global_decoders.windows import WindowedDecoder
from predecoder import CompiledPredecoded, EngineOptions, PredecodedDecoder, load_bundle
from predecoder.correction import automatic_policy, make_decision
from qec import DecodingProblem
from scripts.benchmarks.service.kit import memory

WEIGHTS = ("accurate", "fast")
DECODERS = ("pymatching", "pymatching-correlated")


def main() -> None:
    """Compares and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shots", type=int, default=10_000)
    parser.add_argument("--distance", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--p", type=float, default=0.006)
    flags = parser.parse_args()
    different = 0
    for weights, decoder in itertools.product(WEIGHTS, DECODERS):
        different += compare(flags, weights, decoder)
    if different:
        raise SystemExit(f"{different} shots differ")


def compare(flags: argparse.Namespace, weights: str, decoder: str) -> int:
    """One pair of weights and decoder; how many shots differ."""
    start = time.monotonic()
    circuit = memory(flags.distance, flags.rounds, flags.p)
    dem = circuit.detector_error_model(decompose_errors=True, approximate_disjoint_errors=True)
    measurements = circuit.compile_sampler(seed=7).sample(flags.shots)
    detections, flips = circuit.compile_m2d_converter().convert(
        measurements=measurements, separate_observables=True
    )
    sizes = {"commit": flags.distance, "buffer": flags.distance}
    packed = np.packbits(detections, axis=1, bitorder="little")
    windowed = WindowedDecoder(inner=decoder, **sizes)
    whole = with_a_streams_policy(windowed, weights, dem.flattened())
    frames = whole.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
    automatic = PredecodedDecoder(windowed, weights=weights).compile_decoder_for_dem(dem=dem.flattened())
    others = automatic.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
    stream = StreamDecoder(circuit, decoder=decoder, predecoder=weights, **sizes)
    stream.warm(rounds=flags.rounds)
    edges = np.cumsum([0, *(stream.width(r) for r in range(flags.rounds))])
    equal = wrong = 0
    for shot, bits in enumerate(measurements):
        stream.open(shot)
        for r, (first, stop) in enumerate(itertools.pairwise(edges)):
            stream.push(r, bits[first:stop])
        frame = stream.finish(bits[edges[-1] :]).frame
        equal += frame == frames[shot].tobytes()
        wrong += frame[0] != flips[shot, 0]
    wrong_whole = int((np.unpackbits(others, axis=1, bitorder="little")[:, 0] != flips[:, 0]).sum())
    print(
        f"{weights}, {decoder}, d={flags.distance}, {flags.rounds} rounds, p={flags.p}: {equal} of "
        f"{flags.shots} frames equal; {wrong} of them wrong, {wrong_whole} with the policy for whole shots; "
        f"{time.monotonic() - start:.0f} s",
        flush=True,
    )
    return flags.shots - equal


def with_a_streams_policy(
    decoder: WindowedDecoder, weights: str, dem: stim.DetectorErrorModel
) -> CompiledPredecoded:
    """A network before `decoder` with the policy of streams, for whole shots."""
    problem = DecodingProblem.from_dem(dem)
    bundle = load_bundle(weights)
    return CompiledPredecoded(
        problem,
        bundle.network,
        decoder.compile_decoder_for_dem(dem=dem),
        decision=make_decision(bundle.policies, automatic_policy(decoder, stream=True), problem),
        options=EngineOptions("cpu"),
    )


if __name__ == "__main__":
    main()
