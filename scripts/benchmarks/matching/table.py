"""What a matching takes: ours, PyMatching and fusion-blossom on the same windows, as a page of results.

    python -m scripts.benchmarks.matching.table [--distance 5 9 13] [--p 0.003 0.006]

A task is an X memory experiment of 2 d rounds, as long as a sliding window with commit = buffer = d. Three
kinds of weights: the graph's own; correlated (two passes); of every shot, as a network gives them (here those
of the graph times random factors). Matchers of a task take turns, on the same shots, in one thread; their
weights are compared. The page and its numbers are docs/results/matching.md and .json.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import fusion_blossom
import numpy as np
import pymatching
import scipy.sparse as sp
import tyro

from global_decoders.matching import Matcher, MatchingGraph
from qec import NormalForm, depolarizing, memory_circuit, normal_form
from scripts.benchmarks.results import markdown_table, update_results

RESULTS = Path(__file__).parents[3] / "docs" / "results"
KINDS = ("fixed", "correlated", "per shot")
_SCALE = 1 << 16
"""Half units of fusion-blossom's weights, of the largest one."""
_Weigh = Callable[[int], np.ndarray]
"""Weights of the matchings of the first so many shots."""


@dataclass(frozen=True)
class Flags:
    """Time matchers on the same shots."""

    distance: tuple[int, ...] = (5, 9, 13)
    p: tuple[float, ...] = (0.003, 0.006)
    kind: tuple[str, ...] = KINDS
    seconds: float = 1.0
    """Of every matcher on every task, in all its turns."""
    turns: int = 5
    seed: int = 1


class Task:
    """A graph, shots, and weights of every shot."""

    def __init__(self, distance: int, p: float, *, shots: int, seed: int) -> None:
        circuit = memory_circuit(distance=distance, rounds=2 * distance, basis="x", noise=depolarizing(p))
        dem = circuit.detector_error_model(decompose_errors=True, approximate_disjoint_errors=True)
        self.normal: NormalForm = normal_form(dem)
        sampler = circuit.compile_detector_sampler(seed=seed)
        self.packed, _ = sampler.sample(shots, separate_observables=True, bit_packed=True)
        count = self.normal.num_detectors
        self.detections = np.unpackbits(self.packed, axis=1, count=count, bitorder="little")
        self.graph = MatchingGraph.of_normal_form(self.normal)
        self.two_types = MatchingGraph.of_normal_form(self.normal, decomposed=True)
        factors = np.random.default_rng(seed).uniform(0.5, 1.5, (shots, len(self.two_types.weights)))
        self.weights = (self.two_types.weights * factors).astype(np.float32)

    def matchers(self, kind: str) -> Iterator[tuple[str, _Weigh]]:
        """Those that are timed against each other; the first one is what the others are compared with."""
        if kind == "per shot":
            yield "PyMatching, a new graph for every shot", self._new_graphs
            yield "fusion-blossom, dynamic weights", self._fusion_blossom()
            ours = Matcher(self.two_types)
            yield "ours, edges", lambda n: ours.match(self.packed[:n], self.weights[:n]).weight
            yield (
                "ours, both classes",
                lambda n: _least(ours.classes(self.packed[:n], self.weights[:n]).weights),
            )
            yield "ours, gap", lambda n: _nothing(ours.gap(self.packed[:n], self.weights[:n]))
            yield (
                "ours, gap up to 5 nats",
                lambda n: _nothing(ours.gap(self.packed[:n], self.weights[:n], limit=5.0)),
            )
            return
        correlated = kind == "correlated"
        dem = self.normal.correlated_dem if correlated else self.normal.matching_dem
        theirs = pymatching.Matching.from_detector_error_model(dem, enable_correlations=correlated)
        yield (
            "PyMatching",
            lambda n: theirs.decode_batch(
                self.packed[:n], bit_packed_shots=True, return_weights=True, enable_correlations=correlated
            )[1],
        )
        graph = MatchingGraph.of_normal_form(self.normal, correlated=correlated)
        ours = Matcher(graph)
        yield (
            "ours, predictions",
            lambda n: _nothing(ours.decode_shots_bit_packed(bit_packed_detection_event_data=self.packed[:n])),
        )
        yield "ours, edges", lambda n: ours.match(self.packed[:n]).weight
        classes = Matcher(MatchingGraph.of_normal_form(self.normal, correlated=correlated, decomposed=True))
        yield "ours, gap", lambda n: _nothing(classes.gap(self.packed[:n]))
        yield "ours, gap up to 5 nats", lambda n: _nothing(classes.gap(self.packed[:n], limit=5.0))

    def _new_graphs(self, shots: int) -> np.ndarray:
        found = np.zeros(shots)
        ends, count = self.two_types.ends, len(self.two_types.weights)
        row = np.concatenate([ends[0], ends[1, ends[1] >= 0]])
        column = np.concatenate([np.arange(count), np.flatnonzero(ends[1] >= 0)])
        shape = (self.normal.num_detectors, count)
        matrix = sp.csc_matrix((np.ones(len(row), dtype=np.uint8), (row, column)), shape)
        for k in range(shots):
            matching = pymatching.Matching(matrix, weights=self.weights[k])
            found[k] = matching.decode(self.detections[k], return_weight=True)[1]
        return found

    def _fusion_blossom(self) -> _Weigh:
        ends, boundary = self.two_types.ends, self.normal.num_detectors
        scale = _SCALE / float(self.weights.max(initial=1e-9))
        pairs = np.where(ends < 0, boundary, ends).T.tolist()
        edges = [(a, b, 2 * _SCALE) for a, b in pairs]
        solver = fusion_blossom.SolverSerial(
            fusion_blossom.SolverInitializer(boundary + 1, edges, [boundary])
        )

        def weigh(shots: int) -> np.ndarray:
            found = np.zeros(shots)
            for k in range(shots):
                weights = 2 * np.rint(self.weights[k] * scale).astype(np.int64)
                pattern = fusion_blossom.SyndromePattern(
                    np.flatnonzero(self.detections[k]).tolist(),
                    dynamic_weights=list(enumerate(weights.tolist())),
                )
                solver.solve(pattern)
                found[k] = self.weights[k][solver.subgraph()].astype(np.float64).sum()
                solver.clear()
            return found

        return weigh


def _least(weights: np.ndarray) -> np.ndarray:
    return weights.min(axis=1)


def _nothing(found: np.ndarray) -> np.ndarray:
    """Gaps and predictions have no weight to compare."""
    return np.full(len(found), np.nan)


def main() -> None:
    """Time every task and write the page."""
    flags = tyro.cli(Flags)
    for distance, p in product(flags.distance, flags.p):
        task = Task(distance, p, shots=max(64, 40_000 // distance**2), seed=flags.seed)
        for kind in flags.kind:
            rows = _timed(dict(task.matchers(kind)), flags, shots=len(task.packed))
            new = [row | {"distance": distance, "p": p, "kind": kind} for row in rows]
            update_results(RESULTS, "matching", new, key=("distance", "p", "kind", "matcher"), render=_render)


def _timed(matchers: dict[str, _Weigh], flags: Flags, *, shots: int) -> list[dict]:
    """Seconds a shot of each, the median of its turns, and how its weights compare with the first one's."""
    expected = next(iter(matchers.values()))(min(shots, 20))
    numbers, rows = {}, []
    for name, weigh in matchers.items():
        weigh(1)  # warm
        start = time.process_time()
        weights = weigh(min(shots, 20))
        numbers[name] = _shots_of_a_turn(time.process_time() - start, min(shots, 20), flags, shots)
        differs = np.abs(weights - expected) > 1e-3 * np.maximum(np.abs(expected), 1)
        rows.append({"matcher": name, "heavier": int((differs & (weights > expected)).sum())})
    times: dict[str, list[float]] = {name: [] for name in matchers}
    for _ in range(flags.turns):
        for name, weigh in matchers.items():
            start = time.process_time()
            weigh(numbers[name])
            times[name].append((time.process_time() - start) / numbers[name])
    first = np.array(next(iter(times.values())))
    for row in rows:
        took = np.array(times[row["matcher"]])
        row |= {
            "us_per_shot": float(np.median(took) * 1e6),
            "ratio": float(np.median(took / first)),
            "shots": numbers[row["matcher"]],
        }
    return rows


def _shots_of_a_turn(seconds: float, shots: int, flags: Flags, most: int) -> int:
    wanted = flags.seconds / flags.turns * shots / max(seconds, 1e-6)
    return int(np.clip(wanted, 4, most))


def _render(rows: list[dict]) -> str:
    columns = ["weights", "d", "p", "matcher", "µs a shot", "of the first one's time", "heavier, of 20"]
    order = sorted(rows, key=lambda row: (KINDS.index(row["kind"]), row["distance"], row["p"]))
    body = [
        [
            row["kind"],
            row["distance"],
            row["p"],
            row["matcher"],
            f"{row['us_per_shot']:,.1f}",
            f"{row['ratio']:.3g}",
            row["heavier"],
        ]
        for row in order
    ]
    return markdown_table(columns, body)


if __name__ == "__main__":
    main()
