"""The decision as a dial: LER against SDR against decoding time, on the same shots, as a Markdown table.

    .venv/bin/python scripts/trade_curve.py --weights accurate --distance 9 --p 0.006 --shots 20000

One run of the network, then every pair of thresholds of both policies by clusters: `threshold` in front of
PyMatching, `complete` (clusters joined along hyperedges that leave no residual) in front of correlated
PyMatching; and, in place of both, the matching of the logits. A threshold of proposing below 0 refuses
clusters that touch an alternative of such a logit. Shots are other than those of accuracy_table.py, so that a
threshold picked here is not picked on the table's shots.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import sinter
import torch
import tyro

from global_decoders import make_decoder
from predecoder import load_network, resolve_weights
from predecoder.correction import ClusterDecision, MatchingDecision, ResidualNetwork, ThresholdPolicy
from predecoder.inference import select_device
from predecoder.training import EvaluationCase, PairedCounts
from qec import DecodingProblem

SEED = 3_000_000
DECODERS = ("pymatching", "pymatching-correlated")


@dataclass(frozen=True)
class Flags:
    """Print the trade curve of one case."""

    weights: str = "default"
    distance: int = 9
    p: float = 0.006
    basis: str = "x"
    shots: int = 20_000
    propose: tuple[float, ...] = (0,)
    commit: tuple[float, ...] = (0, 1, 2, 3, 4, 5, 6, 7)
    chunk_shots: int = 4096
    device: str = "auto"
    threads: int | None = None


def main() -> None:
    """Decodes chunk by chunk and prints the table."""
    flags = tyro.cli(Flags)
    if flags.threads:
        torch.set_num_threads(flags.threads)
    file = resolve_weights(flags.weights)
    case = EvaluationCase(flags.distance, flags.p, flags.basis, flags.shots, perfect_last_round=True)
    circuit = case.circuit()
    dem = circuit.detector_error_model(decompose_errors=True)
    problem = DecodingProblem.from_dem(dem)
    matchers = [make_decoder(name).compile_decoder_for_dem(dem=dem) for name in DECODERS]
    network = ResidualNetwork(problem, load_network(file.path), device=select_device(flags.device))
    dial = [(low, high) for low in flags.propose for high in flags.commit if high >= low]
    configs = [[ThresholdPolicy(propose=low, commit=high) for low, high in dial]]
    configs.append([replace(c, residual="empty", clustering="hyperedges") for c in configs[0]])
    labels = [(f"{low:g}", f"{high:g}") for low, high in dial] + [("-", "matching")]
    matched = MatchingDecision(problem)
    decisions = [[*(ClusterDecision(problem, c) for c in row), matched] for row in configs]
    counts = [[PairedCounts() for _ in labels] for _ in DECODERS]
    seconds = np.zeros((2, len(labels)))
    plain_seconds = np.zeros(2)
    sampler = circuit.compile_detector_sampler(seed=SEED + flags.distance)
    for start in range(0, flags.shots, flags.chunk_shots):
        size = min(flags.chunk_shots, flags.shots - start)
        packed, truth = sampler.sample(size, separate_observables=True, bit_packed=True)
        left = iter(network.residuals(packed, [d for row in decisions for d in row]))
        for k, matcher in enumerate(matchers):
            plain, spent = _wrong(matcher, packed, truth)
            plain_seconds[k] += spent
            for n in range(len(labels)):
                residual, flips = next(left)
                pre, spent = _wrong(matcher, residual, truth ^ flips)
                seconds[k, n] += spent
                counts[k][n] += PairedCounts.of_shots(
                    plain, pre, packed=packed, residual=residual, detectors=problem.layout.num_detectors
                )
    _print(flags, file.sha256, labels, counts, plain_seconds[:, None] / seconds)


def _wrong(
    matcher: sinter.CompiledDecoder, packed: np.ndarray, truth: np.ndarray
) -> tuple[np.ndarray, float]:
    """Which shots are decoded wrongly, and the seconds that it took."""
    started = time.perf_counter()
    predicted = matcher.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
    return (predicted != truth).any(axis=1), time.perf_counter() - started


def _print(
    flags: Flags,
    sha256: str,
    labels: list[tuple[str, str]],
    counts: list[list[PairedCounts]],
    speed_up: np.ndarray,
) -> None:
    where = f"d = {flags.distance}, p = {flags.p:g}, basis {flags.basis}, perfect last round"
    print(f"\nweights {sha256[:12]}, {where}, {flags.shots} shots\n")
    pairs = ("errors plain / pre", "only plain / only pre", "ratio (95 %)")
    columns = ("decoder", "propose above", "commit at logit", *pairs, "SDR", "faster")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for k, name in enumerate(DECODERS):
        for n, (propose, commit) in enumerate(labels):
            c = counts[k][n]
            low, high = c.ratio_interval
            print(
                f"| {name} | {propose} | {commit} | {c.errors_plain} / {c.errors_predecoded} "
                f"| {c.only_plain} / {c.only_predecoded} | {c.ratio:.3f} [{low:.3f}, {high:.3f}] "
                f"| {c.sdr:.2f} | {speed_up[k, n]:.2f} |"
            )


if __name__ == "__main__":
    main()
