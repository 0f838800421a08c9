"""The detector error model of one window, cut from the layers of the whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from global_decoders.windows.layers import Component, LayeredDem, Mechanism
from global_decoders.windows.plan import Window

__all__ = [
    "CutKey",
    "Edge",
    "Label",
    "Place",
    "WindowDem",
    "WindowEdges",
    "WindowPlaces",
    "certain_in",
    "cut",
    "cut_key",
    "inputs_of",
    "seen_in",
    "window_places",
]

Place = tuple[int, int]
"""A detector as (layer relative to the window's first, site)."""

Edge = tuple[int, ...]
"""Detectors of a window that a component flips, by their numbers in it, ascending."""

Label = tuple[tuple[int, ...], tuple[Place, ...]]
"""Observables and artificial defects that an edge flips."""

_NOT_COMMITTED: Label = ((), ())


@dataclass(frozen=True)
class WindowPlaces:
    """What a window reads and hands on, independent of where in time it stands.

    Attributes:
        inputs: detectors that the window reads.
        artificial_defects: detectors outside the commit region that committed components flip.
        num_observables: of the experiment.
        certain_inputs: numbers of the inputs that what always happens flips.
        certain_flips: fault ids that what always happens flips, where this window commits it.
    """

    inputs: tuple[Place, ...]
    artificial_defects: tuple[Place, ...]
    num_observables: int
    certain_inputs: tuple[int, ...]
    certain_flips: tuple[int, ...]

    @property
    def fault_ids(self) -> dict[Place, int]:
        """Those of the artificial defects."""
        return {place: self.num_observables + k for k, place in enumerate(self.artificial_defects)}

    @property
    def num_fault_ids(self) -> int:
        """The observables, and then one for each artificial defect."""
        return self.num_observables + len(self.artificial_defects)


@dataclass(frozen=True)
class WindowDem(WindowPlaces):
    """The error model of a window; equal windows compare equal.

    Attributes:
        text: a Stim DEM over the detectors `inputs`, numbered in that order. Its observables are
            the fault ids, and only committed components carry any: what a matching flips is what the
            window commits.
    """

    text: str

    @property
    def places(self) -> WindowPlaces:
        """All but the text."""
        return WindowPlaces(
            self.inputs,
            self.artificial_defects,
            self.num_observables,
            self.certain_inputs,
            self.certain_flips,
        )


CutKey = tuple[tuple[int, int, int], tuple[bool, bool], tuple[int, ...]]
"""Sizes and rules of a window, and the kinds of the layers that it may see something of."""


def cut_key(layers: LayeredDem, window: Window, *, reach: int = 0, ahead: int = 0) -> CutKey:
    """Equal for windows that `cut` into equal DEMs; cheap.

    Args:
        reach, ahead: layers before and after the window that count, at least; `cut` needs none.
    """
    shape = (window.lo - window.start, window.hi - window.start, window.stop - window.start)
    rules = (window.past_closed, window.future_closed)
    seen = range(window.start - max(reach, layers.reach), window.stop + ahead)
    return shape, rules, tuple(layers.kind_id(t) for t in seen)


def cut(layers: LayeredDem, window: Window, *, more: Iterable[tuple[int, Mechanism]] = ()) -> WindowDem:
    """Cuts a window: drops what others commit, deletes detectors beyond, labels what it commits.

    Components that differ only in what was deleted become one edge, with the label of the
    likeliest of them.

    Args:
        layers: the whole experiment.
        window: which part of it.
        more: mechanisms that the experiment has besides, each with its layer.
    """
    return WindowEdges.of(layers, window).plus(more, window).window_dem()


@dataclass(frozen=True, eq=False)
class WindowEdges:
    """What is left of the mechanisms in a window: edges, and what each may flip.

    Attributes:
        inputs: detectors that the window reads.
        num_observables: of the experiment.
        fired: probability that exactly these edges fire together.
        labels: per edge, likelihood of each label that its components give it.
        certain: edges and labels of what always happens.
    """

    inputs: tuple[Place, ...]
    num_observables: int
    fired: dict[tuple[Edge, ...], float]
    labels: dict[Edge, dict[Label, float]]
    certain: tuple[tuple[Edge, Label], ...] = ()

    @classmethod
    def of(cls, layers: LayeredDem, window: Window) -> WindowEdges:
        """Cut a window out of an experiment: the edges that it keeps."""
        inputs, number = inputs_of(layers, window)
        certain = certain_in(layers, window, number=number)
        reaching = range(max(0, window.start - layers.reach), window.stop)
        edges = cls(inputs, layers.num_observables, {}, {}, certain)
        for t in reaching:
            components, mechanisms = layers.kind(t).by_component
            seen = [seen_in(window, component, t, number=number) for component in components]
            for probability, members in mechanisms:
                edges._add(probability, [found for k in members if (found := seen[k]) is not None])
        return edges

    def plus(self, more: Iterable[tuple[int, Mechanism]], window: Window) -> WindowEdges:
        """Return the same window with more mechanisms, each with its layer; `self` stays as it is."""
        number = {place: k for k, place in enumerate(self.inputs)}
        labels = {edge: dict(choices) for edge, choices in self.labels.items()}
        edges = WindowEdges(self.inputs, self.num_observables, dict(self.fired), labels, self.certain)
        for t, mechanism in more:
            seen = [seen_in(window, c, t, number=number) for c in mechanism.components]
            edges._add(mechanism.probability, [found for found in seen if found is not None])
        return edges

    def window_dem(self) -> WindowDem:
        """Return the window as a DEM, every edge with its likeliest label."""
        chosen = {edge: max(choices, key=choices.__getitem__) for edge, choices in self.labels.items()}
        places = window_places(self.inputs, self.num_observables, chosen.values(), self.certain)
        fault_id = places.fault_ids
        targets = {
            edge: _targets(edge, [*observables, *(fault_id[place] for place in handed_on)])
            for edge, (observables, handed_on) in chosen.items()
        }
        # PyMatching breaks ties by the order of edges: keep Stim's, which is that of the detectors.
        # Twelve digits: sums of the same probabilities in another order must give the same text.
        lines = [
            f"error({self.fired[together]:.12g}) " + " ^ ".join(targets[edge] for edge in together)
            for together in sorted(self.fired)
        ]
        ends = [f"detector D{len(self.inputs) - 1}"] if self.inputs else []
        if places.num_fault_ids:
            ends.append(f"logical_observable L{places.num_fault_ids - 1}")
        return WindowDem(**vars(places), text="\n".join([*lines, *ends]))

    def _add(self, probability: float, seen: Sequence[tuple[Edge, Label]]) -> None:
        """A mechanism of which these components are seen."""
        together: dict[Edge, None] = {}
        for edge, label in seen:
            likelihoods = self.labels.setdefault(edge, {})
            likelihoods[label] = _odd(likelihoods.get(label, 0.0), probability)
            # Two components that look the same from here undo each other.
            if together.pop(edge, False) is False:
                together[edge] = None
        if together:
            fired = tuple(together)
            self.fired[fired] = _odd(self.fired.get(fired, 0.0), probability)


def inputs_of(layers: LayeredDem, window: Window) -> tuple[tuple[Place, ...], dict[Place, int]]:
    """The detectors that a window reads, and the number of each."""
    inputs = tuple(
        (t - window.start, s) for t in range(window.start, window.stop) for s in layers.kind(t).sites
    )
    return inputs, {place: k for k, place in enumerate(inputs)}


def certain_in(
    layers: LayeredDem, window: Window, *, number: dict[Place, int]
) -> tuple[tuple[Edge, Label], ...]:
    """What a window sees of what always happens."""
    always = (
        seen_in(window, component, t, number=number)
        for t in range(max(0, window.start - layers.reach), window.stop)
        for component in layers.kind(t).certain
    )
    return tuple(found for found in always if found is not None)


def window_places(
    inputs: tuple[Place, ...],
    num_observables: int,
    labels: Iterable[Label],
    certain: Sequence[tuple[Edge, Label]],
) -> WindowPlaces:
    """What a window reads and hands on.

    Args:
        labels: of its edges.
        certain: what it sees of what always happens.
    """
    used = [*labels, *(label for _, label in certain)]
    artificial_defects = tuple(sorted({place for _, handed_on in used for place in handed_on}))
    fault_id = {place: num_observables + k for k, place in enumerate(artificial_defects)}
    flips = [
        flip
        for _, (observables, handed_on) in certain
        for flip in [*observables, *(fault_id[place] for place in handed_on)]
    ]
    return WindowPlaces(
        inputs=inputs,
        artificial_defects=artificial_defects,
        num_observables=num_observables,
        certain_inputs=_odd_times(detector for edge, _ in certain for detector in edge),
        certain_flips=_odd_times(flips),
    )


def seen_in(
    window: Window, component: Component, layer: int, *, number: dict[Place, int]
) -> tuple[Edge, Label] | None:
    """What a window keeps of a component of a mechanism of this layer; None if that is nothing.

    Args:
        number: of each detector that the window reads.
    """
    first, length = layer - window.start, window.stop - window.start
    places = tuple((first + offset, site) for offset, site in component.detectors)
    edge = tuple(sorted(number[place] for place in places if 0 <= place[0] < length))
    touched = [layer + offset for offset, _ in component.detectors]
    if not edge or window.drops(touched):
        return None
    if not window.commits(touched):
        return edge, _NOT_COMMITTED
    lo, hi = window.lo - window.start, window.hi - window.start
    return edge, (component.observables, tuple(place for place in places if not lo <= place[0] < hi))


def _targets(edge: Edge, flips: Sequence[int]) -> str:
    return " ".join([*(f"D{k}" for k in edge), *(f"L{k}" for k in flips)])


def _odd_times(numbers: Iterable[int]) -> tuple[int, ...]:
    """Return the numbers that occur an odd number of times, ascending."""
    return tuple(sorted(number for number, times in Counter(numbers).items() if times % 2))


def _odd(p: float, q: float) -> float:
    """Probability that exactly one of two independent events happens."""
    return p * (1 - q) + q * (1 - p)
