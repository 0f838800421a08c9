"""A pre-decoder fine-tuned on noise that was learned from a device's own syndromes, as a Markdown table.

    python -m scripts.benchmarks.device_finetune.table --out out/device --data FOLDER [--results docs/results]

Google's distance-3 memory, each file by halves: learn a DEM from the detection events of one half (no
labels), sample that DEM to fine-tune the shipped network, decode the other half. All decoders use the
learned DEM and see the same shots. Learned DEM, checkpoints and counts stay in --out, so that a killed run
goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import stim
import torch
import tyro

from noise_learning import Moments, SharedParameterModel, Structure, learn
from predecoder import load_bundle, resolve_weights
from predecoder.training import (
    DataConfig,
    OptimizerConfig,
    PairedCounts,
    PairedDecoders,
    StageConfig,
    TaskConfig,
    train_stage,
)
from qec import read_shots
from scripts.benchmarks.lines import add_lines, read_lines
from scripts.benchmarks.results import markdown_table, update_results

KEY = ("weights", "steps", "file", "network", "decoder")
HALVES = ("even", "odd")
DECODERS = ("neural-matching", "predecoder+pymatching-correlated")
LABELS = {"shipped": "as shipped", "tuned": "fine-tuned"}


@dataclass(frozen=True)
class Flags:
    """Fine-tune on learned noise and decode the device."""

    out: Path
    data: Path
    weights: str = "default"
    files: tuple[str, ...] = ("r05", "r11")
    steps: int = 600
    learning_rate: float = 1e-3
    blocks_per_batch: int = 4000
    threads: int | None = None
    results: Path | None = None


def main() -> None:
    """Runs every file and half that is not done, and prints the table."""
    flags = tyro.cli(Flags)
    if flags.threads:
        torch.set_num_threads(flags.threads)
    flags.out.mkdir(parents=True, exist_ok=True)
    log = flags.out / "counts.jsonl"
    rows = read_lines(log)
    done = {(row["file"], row["half"]) for row in rows}
    for name, half in product(flags.files, (0, 1)):
        if (name, HALVES[half]) in done:
            continue
        new = list(_decode_half(flags, name, half))
        add_lines(log, *new)
        rows += new
    table = list(_table(rows, flags))
    print(f"\n{render(table)}")
    if flags.results is not None:
        print("written:", *update_results(flags.results, "device_finetune", table, key=KEY, render=render))


def _decode_half(flags: Flags, name: str, half: int) -> Iterator[dict]:
    """Learns on one half and decodes the other; one row a network and global decoder."""
    folder = flags.data / name
    circuit = stim.Circuit.from_file(folder / "circuit_noisy.stim")
    events = folder / "detection_events.b8"
    shots = read_shots(events, format="b8", num_detectors=circuit.num_detectors)
    flips = read_shots(folder / "obs_flips_actual.01", format="01", num_observables=circuit.num_observables)
    model = SharedParameterModel.of_time_translations(Structure.from_circuit(circuit).simplified())
    dem = learn(Moments.from_shots(model.structure.subsets, shots[half::2]), model).dem()
    work_dir = flags.out / f"{name}-{HALVES[half]}"
    work_dir.mkdir(exist_ok=True)
    dem.to_file(work_dir / "learned.dem")
    bundle = load_bundle(flags.weights)
    shipped = bundle.network
    stage = StageConfig(
        name=work_dir.name,
        init=str(resolve_weights(flags.weights).path),
        network=shipped.config,
        policies=bundle.policies,
        optimizer=OptimizerConfig(
            steps=flags.steps, learning_rate=flags.learning_rate, warmup_steps=50, decay_fraction=0.8
        ),
        data=DataConfig(blocks_per_batch=flags.blocks_per_batch),
        tasks=(TaskConfig(dem=str(work_dir / "learned.dem")),),
    )
    tuned = train_stage(
        stage, work_dir, device=torch.device("cpu"), on_step=lambda r: _progress(work_dir.name, r.step)
    )
    for label, network in (("shipped", shipped), ("tuned", tuned)):
        cpu = torch.device("cpu")
        decoders = PairedDecoders(network, bundle.policies, dem, device=cpu, decoders=DECODERS)
        for decoder, counts in decoders.count(shots[1 - half :: 2], flips[1 - half :: 2]).items():
            yield {"file": name, "half": HALVES[half], "network": label, "decoder": decoder, **asdict(counts)}


def _progress(name: str, step: int) -> None:
    if step % 100 == 0:
        print(f"{name}: step {step}", flush=True)


def _table(rows: list[dict], flags: Flags) -> Iterator[dict[str, Any]]:
    """Both halves of a file together; one row a network and global decoder."""
    fields = list(asdict(PairedCounts()))
    what = {"weights": flags.weights, "sha256": resolve_weights(flags.weights).sha256, "steps": flags.steps}
    for name, (label, title), decoder in product(flags.files, LABELS.items(), DECODERS):
        of = [r for r in rows if (r["file"], r["network"], r["decoder"]) == (name, label, decoder)]
        counts = sum((PairedCounts(**{k: r[k] for k in fields}) for r in of), PairedCounts())
        yield what | {"file": name, "network": title, "decoder": decoder, "counts": asdict(counts)}


def render(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    pairs = ("errors plain / with network", "only plain / only with network", "LER plain / with network")
    columns = ("weights", "file", "network", "decoder", "steps", "shots", *pairs, "ratio (95 %)", "SDR")
    return markdown_table(columns, map(_cells, rows))


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    c = PairedCounts(**row["counts"])
    low, high = c.ratio_interval
    return (
        *(row[name] for name in ("weights", "file", "network", "decoder", "steps")),
        c.shots,
        f"{c.errors_plain} / {c.errors_predecoded}",
        f"{c.only_plain} / {c.only_predecoded}",
        f"{c.errors_plain / c.shots:.4f} / {c.errors_predecoded / c.shots:.4f}",
        f"{c.ratio:.3f} [{low:.3f}, {high:.3f}]",
        f"{c.sdr:.1f}",
    )


if __name__ == "__main__":
    main()
