"""The decision as a dial: LER against SDR against decoding time, on the same shots, as a Markdown table.

    python -m scripts.benchmarks.trade_curve.table --weights accurate --distance 9 --p 0.006 --shots 20000

One run of the network, then every pair of thresholds of both policies by clusters: `threshold` in front of
PyMatching, `complete` (clusters joined along hyperedges that leave no residual) in front of correlated
PyMatching; and, in place of both, the matching of the logits. A threshold of proposing below 0 refuses
clusters that touch an alternative of such a logit. Shots are other than those of the benchmark `accuracy`, so
that a threshold picked here is not picked on the table's shots. With --results, the rows go into
trade_curve.json and trade_curve.md of that folder.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import sinter
import torch
import tyro

from global_decoders import make_decoder
from predecoder import load_network, resolve_weights
from predecoder.correction import ClusterDecision, MatchingDecision, ResidualNetwork, ThresholdPolicy
from predecoder.inference import EngineOptions
from predecoder.training import EvaluationCase, PairedCounts
from qec import DecodingProblem
from scripts.benchmarks.results import markdown_table, update_results

SEED = 3_000_000
KEY = ("weights", "p", "d", "basis", "decoder", "propose", "commit")
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
    results: Path | None = None
    """Folder for trade_curve.json and trade_curve.md; left out: only printed."""


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
    network = ResidualNetwork(problem, load_network(file.path), EngineOptions(flags.device))
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
    rows = list(_rows(flags, file.sha256, labels, counts, plain_seconds[:, None] / seconds))
    print(f"\nweights {file.sha256[:12]}, perfect last round, {flags.shots} shots\n\n{render(rows)}")
    if flags.results is not None:
        print("written:", *update_results(flags.results, "trade_curve", rows, key=KEY, render=render))


def _wrong(
    matcher: sinter.CompiledDecoder, packed: np.ndarray, truth: np.ndarray
) -> tuple[np.ndarray, float]:
    """Which shots are decoded wrongly, and the seconds that it took."""
    started = time.perf_counter()
    predicted = matcher.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
    return (predicted != truth).any(axis=1), time.perf_counter() - started


def _rows(
    flags: Flags,
    sha256: str,
    labels: list[tuple[str, str]],
    counts: list[list[PairedCounts]],
    speed_up: np.ndarray,
) -> Iterator[dict[str, Any]]:
    """One row a decoder and pair of thresholds."""
    cell = {"weights": flags.weights, "p": flags.p, "d": flags.distance, "basis": flags.basis}
    for k, name in enumerate(DECODERS):
        for n, (propose, commit) in enumerate(labels):
            yield cell | {
                "decoder": name,
                "propose": propose,
                "commit": commit,
                "sha256": sha256,
                "counts": asdict(counts[k][n]),
                "times_faster": round(float(speed_up[k, n]), 3),
            }


def render(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    pairs = ("errors plain / with network", "only plain / only with network", "ratio (95 %)")
    columns = ("weights", "p", "d", "basis", "decoder", "propose above", "commit at logit")
    return markdown_table((*columns, "shots", *pairs, "SDR", "matcher faster"), map(_cells, rows))


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    c = PairedCounts(**row["counts"])
    low, high = c.ratio_interval
    return (
        *(row[name] for name in ("weights", "p", "d", "basis", "decoder", "propose", "commit")),
        c.shots,
        f"{c.errors_plain} / {c.errors_predecoded}",
        f"{c.only_plain} / {c.only_predecoded}",
        f"{c.ratio:.3f} [{low:.3f}, {high:.3f}]",
        f"{c.sdr:.2f}",
        f"{row['times_faster']:.2f}",
    )


if __name__ == "__main__":
    main()
