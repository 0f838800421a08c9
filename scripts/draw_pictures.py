"""Draw the pictures of README and docs/concepts into docs/pictures.

Run `.venv/bin/python scripts/draw_pictures.py`.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("svg")

import numpy as np
import stim
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from global_decoders import make_decoder
from noise_learning import learn_noise
from predecoder import CompiledPredecoded, PredecodedDecoder
from qec import DecodingProblem, LocationVariation, depolarizing, memory_circuit, normal_form

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"
INK, PAPER, BLUE, ORANGE, GREY = "#222222", "#ffffff", "#3b5bdb", "#e8590c", "#adb5bd"


def main() -> None:
    """Draw every picture; fixed seeds and no dates, so that a second run writes the same files."""
    plt.rcParams.update(
        {"svg.hashsalt": "qecpipe", "font.size": 10, "font.family": "DejaVu Sans", "figure.facecolor": PAPER}
    )
    for draw in (pipeline, windows, moves, noise_learning):
        figure = draw()
        figure.savefig(PICTURES / f"{draw.__name__.replace('_', '-')}.svg", metadata={"Date": None})
        plt.close(figure)


def pipeline() -> Figure:
    """One shot's way, from detections to predicted observables."""
    figure, ax = _blank(10.4, 2.6)
    boxes = [
        ("Stim circuit,\nor your device", "shots", GREY),
        ("network", "logits", BLUE),
        ("policy", "moves", BLUE),
        ("residual", "residual\nsyndrome", BLUE),
        ("global decoder,\nPyMatching", "flips", ORANGE),
        ("XOR", "predicted\nobservables", GREY),
    ]
    width, gap = 1.42, 0.98
    for k, (label, flow, colour) in enumerate(boxes):
        x = k * (width + gap)
        _box(ax, x, 1.0, width, 0.8, label, colour)
        _arrow(ax, (x + width, 1.4), (x + width + gap, 1.4))
        ax.text(x + width + gap / 2, 1.48, flow, ha="center", va="bottom", fontsize=8.5)
    left, right = 3 * (width + gap), 5 * (width + gap)
    arc = {"arrowstyle": "->", "color": INK, "connectionstyle": "arc3,rad=0.35"}
    ax.annotate("", (right + width / 2, 1.0), (left + width / 2, 1.0), arrowprops=arc)
    ax.text((left + right + width) / 2, 0.12, "observable flips of the same moves", ha="center", fontsize=8.5)
    start, end = width + gap, 3 * (width + gap) + width
    ax.plot([start, end], [2.05, 2.05], color=BLUE, linewidth=1.2)
    ax.text((start + end) / 2, 2.1, "pre-decoder", ha="center", va="bottom", color=BLUE)
    ax.set_xlim(-0.1, 6 * (width + gap) + 0.5)
    ax.set_ylim(0, 2.5)
    return figure


def windows() -> Figure:
    """Sliding windows above, parallel windows below, over the layers of an experiment."""
    figure, ax = _blank(9.0, 3.6)
    for k in range(3):
        y = 3.6 - 0.5 * k
        _span(ax, 3 * k, 3 * k + 3, y, BLUE, "commit")
        _span(ax, 3 * k + 3, 3 * k + 6, y, GREY, "buffer")
        _handover(ax, 3 * k + 3, y)
    ax.text(-0.3, 3.25, "sliding", ha="right", va="center")
    for start, colour, label in ((0, BLUE, "A"), (9, BLUE, "A")):
        _span(ax, max(0, start - 3), start, 1.4, GREY, "buffer")
        _span(ax, start, start + 3, 1.4, colour, f"{label}: commit")
        _span(ax, start + 3, start + 6, 1.4, GREY, "buffer")
    _span(ax, 3, 9, 0.7, ORANGE, "B: commit")
    for x, step in ((3, 0.22), (9, -0.22)):
        _arrow(ax, (x - step, 1.4), (x + step, 1.06), colour=ORANGE)
    ax.text(-0.3, 1.25, "parallel", ha="right", va="center")
    _arrow(ax, (0, 0.25), (15.3, 0.25))
    ax.text(15.3, 0.0, "detector layers (time)", ha="right", va="top")
    ax.set_xlim(-2, 15.6)
    ax.set_ylim(-0.3, 4.2)
    return figure


def moves() -> Figure:
    """Detections of a shot, layer by layer, before and after a pre-decoder's moves."""
    circuit = memory_circuit(distance=7, rounds=5, basis="z", noise=depolarizing(0.006))
    problem = DecodingProblem.from_circuit(circuit)
    shots = np.asarray(circuit.compile_detector_sampler(seed=3).sample(1, bit_packed=True))
    decoder = PredecodedDecoder(make_decoder("pymatching"), weights="fast", policy="threshold")
    compiled = decoder.compile_decoder_for_dem(dem=problem.dem)
    assert isinstance(compiled, CompiledPredecoded)
    residual, _ = compiled.decode_to_residual(shots)
    voxels = problem.layout.voxels
    figure, axes = plt.subplots(2, problem.layout.layers, figsize=(9.6, 3.6), layout="constrained")
    for row, (label, packed) in enumerate((("detections", shots), ("residual", residual))):
        fired = np.unpackbits(packed[0], count=len(voxels), bitorder="little").astype(bool)
        for layer, ax in enumerate(axes[row]):
            here = voxels[:, 0] == layer
            ax.scatter(*voxels[here, :0:-1].T, s=6, color=GREY)
            ax.scatter(*voxels[here & fired, :0:-1].T, s=40, color=ORANGE)
            ax.set(xticks=[], yticks=[], aspect="equal", title=f"layer {layer}" if row == 0 else "")
            ax.invert_yaxis()
        axes[row][0].set_ylabel(f"{label}: {int(fired.sum())}")
    return figure


def noise_learning() -> Figure:
    """Learned against true probabilities of mechanisms, where noise differs from place to place."""
    variation = LocationVariation(sigma=0.5, seed=5)
    noise = depolarizing(0.004)
    circuit = memory_circuit(distance=3, rounds=8, basis="z", noise=noise, variation=variation)
    shots = circuit.compile_detector_sampler(seed=4).sample(200_000, bit_packed=True)
    fit = learn_noise(memory_circuit(distance=3, rounds=8, basis="z", noise=noise), shots)
    true, learned = _common(circuit.detector_error_model(), fit.dem())
    figure, ax = plt.subplots(figsize=(4.6, 4.2), layout="constrained")
    ax.plot([1e-4, 0.1], [1e-4, 0.1], color=INK, linewidth=0.8)
    ax.loglog(true, learned, "o", markersize=3, color=BLUE, alpha=0.6)
    ax.set(xlabel="true probability of a mechanism", ylabel="learned from 200,000 shots, no labels")
    return figure


def _common(*dems: stim.DetectorErrorModel) -> tuple[np.ndarray, ...]:
    """Probabilities of the mechanisms that all DEMs have, by the detectors they flip."""
    faults = [normal_form(dem).hyperedges for dem in dems]
    tables = [dict(zip(f.detectors, f.probabilities, strict=True)) for f in faults]
    common = sorted(set.intersection(*map(set, tables)))
    return tuple(np.array([table[key] for key in common]) for table in tables)


def _blank(width: float, height: float) -> tuple[Figure, Axes]:
    figure, ax = plt.subplots(figsize=(width, height), layout="constrained")
    ax.axis("off")
    return figure, ax


def _box(ax: Axes, x: float, y: float, width: float, height: float, label: str, colour: str) -> None:
    shape = FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0.02", facecolor=PAPER)
    shape.set(edgecolor=colour, linewidth=1.8)
    ax.add_patch(shape)
    ax.text(x + width / 2, y + height / 2, label, ha="center", va="center", fontsize=9)


def _span(ax: Axes, start: float, stop: float, y: float, colour: str, label: str) -> None:
    """Layers [start, stop) of a window; committed ones are filled."""
    if stop <= start:
        return
    fill, text = (PAPER, INK) if colour == GREY else (colour, PAPER)
    ax.add_patch(Rectangle((start, y), stop - start, 0.36, facecolor=fill, edgecolor=INK, linewidth=0.8))
    ax.text((start + stop) / 2, y + 0.17, label, ha="center", va="center", color=text, fontsize=8)


def _handover(ax: Axes, x: float, y: float) -> None:
    """Artificial defects, handed on where a window's commit region ends."""
    _arrow(ax, (x - 0.1, y + 0.02), (x + 0.1, y - 0.12), colour=ORANGE)
    if y == 3.6:
        ax.text(x + 3.2, y + 0.17, "arrows: artificial defects", color=ORANGE, fontsize=8, va="center")


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], *, colour: str = INK) -> None:
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": colour})


if __name__ == "__main__":
    main()
