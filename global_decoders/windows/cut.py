"""The detector error model of one window, cut from the layers of the whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from global_decoders.windows.layers import LayeredDem, Mechanism
from global_decoders.windows.plan import Window

__all__ = ["WindowDem", "cut", "cut_key"]

Place = tuple[int, int]
"""A detector as (layer relative to the window's first, site)."""

Label = tuple[tuple[int, ...], tuple[Place, ...]]
"""Observables and seam detectors that an edge flips."""


@dataclass(frozen=True)
class WindowDem:
    """One window, independent of where in time it stands; equal windows compare equal.

    Attributes:
        text: a Stim DEM over the detectors `inputs`, numbered in that order. Its observables are
            the `num_observables` real ones and then one for each seam detector, and only owned
            components carry any: what a matching flips is what the window commits.
        inputs: detectors that the window reads.
        seam: detectors outside the commit region that owned components flip.
        num_observables: of the experiment.
    """

    text: str
    inputs: tuple[Place, ...]
    seam: tuple[Place, ...]
    num_observables: int

    @property
    def num_fault_ids(self) -> int:
        return self.num_observables + len(self.seam)


def cut_key(layers: LayeredDem, window: Window) -> tuple[object, ...]:
    """Equal for windows that `cut` into equal DEMs; cheap."""
    shape = (window.lo - window.start, window.hi - window.start, window.stop - window.start)
    rules = (window.past_closed, window.future_closed)
    return shape, rules, tuple(layers.kind_id(t) for t in range(window.start - layers.reach, window.stop))


def cut(layers: LayeredDem, window: Window, *, more: Iterable[tuple[int, Mechanism]] = ()) -> WindowDem:
    """Cuts a window: drops what others own, deletes detectors beyond, labels what it owns.

    Components that differ only in what was deleted become one edge, with the label of the
    likeliest of them.

    Args:
        layers: the whole experiment.
        window: which part of it.
        more: mechanisms that the experiment has besides, each with its layer.
    """
    inputs = tuple(
        (t - window.start, s) for t in range(window.start, window.stop) for s in layers.kind(t).sites
    )
    labels: dict[tuple[Place, ...], dict[Label, float]] = {}
    fired: dict[tuple[tuple[Place, ...], ...], float] = {}
    everything = [(t, m) for t in _anchors(layers, window) for m in layers.kind(t).mechanisms]
    for t, mechanism in [*everything, *more]:
        edges: dict[tuple[Place, ...], None] = {}
        for component in mechanism.components:
            places = tuple((t + offset - window.start, site) for offset, site in component.detectors)
            touched = [layer + window.start for layer, _ in places]
            kept = tuple(p for p in places if 0 <= p[0] < window.stop - window.start)
            if not kept or window.drops(touched):
                continue
            label = _label(places, component.observables, window) if window.owns(touched) else ((), ())
            likelihoods = labels.setdefault(kept, {})
            likelihoods[label] = _odd(likelihoods.get(label, 0.0), mechanism.probability)
            # Two components that look the same from here undo each other.
            if edges.pop(kept, False) is False:
                edges[kept] = None
        if edges:
            together = tuple(edges)
            fired[together] = _odd(fired.get(together, 0.0), mechanism.probability)
    chosen = {kept: max(choices, key=choices.__getitem__) for kept, choices in labels.items()}
    seam = tuple(sorted({place for _, places in chosen.values() for place in places}))
    text = _text(fired, chosen, inputs=inputs, seam=seam, num_observables=layers.num_observables)
    return WindowDem(text, inputs, seam, layers.num_observables)


def _anchors(layers: LayeredDem, window: Window) -> range:
    return range(max(0, window.start - layers.reach), window.stop)


def _label(places: Sequence[Place], observables: tuple[int, ...], window: Window) -> Label:
    lo, hi = window.lo - window.start, window.hi - window.start
    return observables, tuple(p for p in places if not lo <= p[0] < hi)


def _text(
    fired: dict[tuple[tuple[Place, ...], ...], float],
    labels: dict[tuple[Place, ...], Label],
    *,
    inputs: Sequence[Place],
    seam: Sequence[Place],
    num_observables: int,
) -> str:
    number = {place: k for k, place in enumerate(inputs)}
    fault_id = {place: num_observables + k for k, place in enumerate(seam)}

    def targets(kept: tuple[Place, ...]) -> str:
        observables, handed_on = labels[kept]
        flips = [*observables, *(fault_id[place] for place in handed_on)]
        return " ".join([*(f"D{k}" for k in sorted(number[p] for p in kept)), *(f"L{k}" for k in flips)])

    # PyMatching breaks ties by the order of edges: keep Stim's, which is that of the detectors.
    ordered = sorted(fired, key=lambda edges: [sorted(number[p] for p in kept) for kept in edges])
    # Twelve digits: sums of the same probabilities in another order must give the same text.
    lines = [f"error({fired[e]:.12g}) " + " ^ ".join(targets(kept) for kept in e) for e in ordered]
    ends = [f"detector D{len(inputs) - 1}"] if inputs else []
    if num_observables + len(seam):
        ends.append(f"logical_observable L{num_observables + len(seam) - 1}")
    return "\n".join([*lines, *ends])


def _odd(p: float, q: float) -> float:
    """Probability that exactly one of two independent events happens."""
    return p * (1 - q) + q * (1 - p)
