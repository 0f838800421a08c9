"""What a cascade buys: LER and time of a fast decoder, a slow one, and the slow one for doubtful shots.

    python -m scripts.benchmarks.confidence.cascade --out out/cascade [--distance 5 7]
    python -m scripts.benchmarks.confidence.cascade --out out/cascade --results docs/results

Decoders decode the same fresh shots, the slow one the first of them, so that errors are paired: how many
shots only one of two gets wrong, of those that both have decoded. Time is CPU time of one thread for chunks
of shots, over shots and rounds. Chunks are lines of chunks.jsonl, so that a killed run goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sinter
import stim
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from predecoder.training import EvaluationCase
from scripts.benchmarks.lines import add_lines, read_lines
from scripts.benchmarks.results import markdown_table, update_results
from sims.decoders import NamedDecoder, build_decoder
from sims.plots.style import looks
from sims.statistics import error_rate
from sims.sweeps import decoder_dem

SEED = 23_000_000
KEY = ("d", "p", "basis", "decoder")


@dataclass(frozen=True)
class Flags:
    """Decode the same shots with a cascade and with its parts."""

    out: Path
    first: str = "neural-matching"
    second: str = "tesseract"
    beside: tuple[str, ...] = ("pymatching-correlated",)
    percent: tuple[float, ...] = (1, 5)
    """Of shots that the first decoder doubts most."""
    weights: str = "fast-matching"
    distance: tuple[int, ...] = (5, 7)
    p: float = 0.006
    basis: str = "x"
    shots: int = 8192
    second_shots: int = 2048
    """The first so many for the second decoder by itself, of every shot."""
    chunk_shots: int = 512
    results: Path | None = None
    picture: Path | None = None

    @property
    def decoders(self) -> list[str]:
        """Names, the first decoder's first."""
        cascades = [f"cascade:{self.first},{self.second}@{percent:g}%" for percent in self.percent]
        return [self.first, self.second, *cascades, *self.beside]


@dataclass(frozen=True, eq=False)
class Decoded:
    """Which shots a decoder gets wrong, bool `(shots,)`, and the CPU seconds that it took."""

    wrong: np.ndarray
    seconds: float


def main() -> None:
    """Decode what is not there, print the table and draw the points."""
    flags = tyro.cli(Flags)
    flags.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for distance in flags.distance:
        decoded = _of_distance(flags, distance)
        rows += [_row(flags, distance, name, decoded) for name in flags.decoders]
    print(render(rows))
    if flags.results is not None:
        print("written:", *update_results(flags.results, "cascade", rows, key=KEY, render=render))
    print("drawn:", draw(rows, flags.picture or flags.out))


def _of_distance(flags: Flags, distance: int) -> dict[str, Decoded]:
    """By decoder, all chunks one after another."""
    case = EvaluationCase(distance, flags.p, flags.basis, flags.chunk_shots, perfect_last_round=True)
    circuit = case.circuit()
    dem = decoder_dem(circuit)
    named = {
        name: build_decoder(name, weights=flags.weights, device="cpu", threads=1) for name in flags.decoders
    }
    compiled: dict[str, sinter.CompiledDecoder] = {}
    log = flags.out / "chunks.jsonl"
    found: dict[str, list[Decoded]] = {name: [] for name in named}
    for number in range(-(-flags.shots // flags.chunk_shots)):
        lines = read_lines(log)
        shots: tuple[np.ndarray, np.ndarray] | None = None
        for name, decoder in named.items():
            if name == flags.second and number * flags.chunk_shots >= flags.second_shots:
                continue
            what = _what(flags, distance, decoder, number)
            known = next((line for line in lines if line["chunk"] == what), None)
            if known is None:
                if name not in compiled:
                    compiled[name] = decoder.compiled(dem)
                    _decode(compiled[name], _sample(circuit, 8, SEED - 1))  # warm
                shots = shots or _sample(circuit, flags.chunk_shots, SEED + 10_000 * distance + number)
                one = _decode(compiled[name], shots)
                known = {"wrong": np.flatnonzero(one.wrong).tolist(), "seconds": one.seconds}
                add_lines(log, {"chunk": what, **known})
            wrong = np.zeros(flags.chunk_shots, dtype=bool)
            wrong[known["wrong"]] = True
            found[name].append(Decoded(wrong, known["seconds"]))
    return {
        name: Decoded(np.concatenate([one.wrong for one in of]), sum(one.seconds for one in of))
        for name, of in found.items()
    }


def _what(flags: Flags, distance: int, decoder: NamedDecoder, number: int) -> dict[str, Any]:
    experiment = {"d": distance, "p": flags.p, "basis": flags.basis, "shots": flags.chunk_shots}
    return {**experiment, "number": number, "decoder": decoder.name, **decoder.identity}


def _sample(circuit: stim.Circuit, shots: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    sampler = circuit.compile_detector_sampler(seed=seed)
    packed, flips = sampler.sample(shots, separate_observables=True, bit_packed=True)
    return packed, flips


def _decode(compiled: sinter.CompiledDecoder, shots: tuple[np.ndarray, np.ndarray]) -> Decoded:
    packed, flips = shots
    start = time.process_time()
    predictions = compiled.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
    return Decoded((predictions != flips).any(axis=1), time.process_time() - start)


def _row(flags: Flags, distance: int, name: str, decoded: dict[str, Decoded]) -> dict[str, Any]:
    own, shots = decoded[name].wrong, len(decoded[name].wrong)
    pairs = {}
    for role in (flags.first, flags.second):
        both = min(shots, len(decoded[role].wrong))
        this, that = own[:both], decoded[role].wrong[:both]
        pairs[role] = [int((this & ~that).sum()), int((that & ~this).sum()), both]
    return {
        **{"d": distance, "p": flags.p, "basis": flags.basis, "decoder": name},
        **{"weights": flags.weights, "shots": shots, "errors": int(own.sum())},
        "microseconds_a_round": 1e6 * decoded[name].seconds / (shots * distance),
        **{"only_this_only_that": pairs},
    }


def render(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    pairs = ("against", "only this / only that wrong (shots)")
    columns = (*KEY, "errors / shots", "LER", "CPU µs a round", *pairs)
    return markdown_table(columns, map(_cells, rows))


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    span = error_rate(row["errors"], row["shots"])
    pairs = {name: pair for name, pair in row["only_this_only_that"].items() if name != row["decoder"]}
    return (
        *(row[name] for name in KEY),
        f"{row['errors']:,} / {row['shots']:,}",
        f"{span.best:.4g} [{span.low:.4g}, {span.high:.4g}]",
        f"{row['microseconds_a_round']:,.1f}",
        ", ".join(pairs),
        ", ".join(f"{this} / {that} ({both:,})" for this, that, both in pairs.values()),
    )


def draw(rows: Sequence[dict[str, Any]], folder: Path) -> Path:
    """Error rate against time, one panel per distance."""
    distances = list(dict.fromkeys(row["d"] for row in rows))
    figure = Figure(figsize=(4.2 * len(distances), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    styles = looks([(name, name) for name in dict.fromkeys(row["decoder"] for row in rows)])
    panels = figure.subplots(1, len(distances), squeeze=False)[0]
    for panel, distance in zip(panels, distances, strict=True):
        for row in (row for row in rows if row["d"] == distance):
            span = error_rate(row["errors"], row["shots"])
            bars = [[span.best - span.low], [span.high - span.best]]
            style = styles[row["decoder"]].as_arguments()
            x = [row["microseconds_a_round"]]
            panel.errorbar(x, [span.best], yerr=bars, **style, capsize=2, label=row["decoder"])
        panel.set(xscale="log", xlabel="CPU µs a round", ylabel="logical error rate", title=f"d = {distance}")
    panels[0].legend(fontsize="xx-small", frameon=False)
    path = folder / "cascade.png"
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=110)
    return path


if __name__ == "__main__":
    main()
