"""A detector error model as a sequence of layers in time, of any length, each layer kind stored once."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import stim

from global_decoders.compiling import require_edges
from global_decoders.windows.repeats import shortened
from qec import (
    LayoutError,
    detector_coordinates,
    layers_of_detectors,
    mechanisms,
    normal_form,
    position_of,
    time_of,
)
from qec import Mechanism as DemMechanism

__all__ = ["Component", "LayerKind", "LayeredDem", "Mechanism", "layers_of"]

_MAX_PERIOD = 8
_ROUNDING = 1e-12
"""Of probabilities, relative: `cut` writes twelve digits."""
_ENDLESS = 1 << 40


@dataclass(frozen=True)
class Component:
    """Detectors as (layer relative to the mechanism's, site), ascending, at least one; observables."""

    detectors: tuple[tuple[int, int], ...]
    observables: tuple[int, ...]


@dataclass(frozen=True)
class Mechanism:
    """Components that fire together with a probability."""

    probability: float
    components: tuple[Component, ...]


@dataclass(frozen=True)
class LayerKind:
    """What a layer holds.

    Attributes:
        sites: in the order of their detectors.
        mechanisms: those whose earliest detector it has; none is likelier than 1/2. None in a skeleton.
        certain: what always happens besides: components whose earliest detector it has.
    """

    sites: tuple[int, ...]
    mechanisms: tuple[Mechanism, ...] | None
    certain: tuple[Component, ...] = ()

    @property
    def known_mechanisms(self) -> tuple[Mechanism, ...]:
        """The mechanisms. Raises ValueError in a skeleton."""
        if self.mechanisms is None:
            raise ValueError("this is the skeleton of a DEM, which holds no mechanisms; read the DEM itself")
        return self.mechanisms

    @cached_property
    def index_of(self) -> dict[int, int]:
        """Where in the layer each site stands."""
        return {site: k for k, site in enumerate(self.sites)}

    @cached_property
    def footprints(self) -> frozenset[tuple[int, ...]]:
        """The distinct sets of relative layers that components touch."""
        components = [component for m in self.known_mechanisms for component in m.components]
        return frozenset(
            tuple(sorted({layer for layer, _ in component.detectors}))
            for component in [*components, *self.certain]
        )

    @cached_property
    def by_component(self) -> tuple[tuple[Component, ...], tuple[tuple[float, tuple[int, ...]], ...]]:
        """The distinct components, and per mechanism its probability and which of them it has."""
        index: dict[Component, int] = {}
        mechanisms = tuple(
            (m.probability, tuple(index.setdefault(c, len(index)) for c in m.components))
            for m in self.known_mechanisms
        )
        return tuple(index), mechanisms


@dataclass(frozen=True, eq=False)
class LayeredDem:
    """Layers 0 to num_layers - 1: the source's first `cut`, its `cycle` repeated, the source's rest.

    Attributes:
        positions: of every site, its coordinates in space and a number that tells twins apart.
        kinds: the distinct layers.
        source: kind of each layer of the DEM that was read.
        source_detectors: per layer of that DEM its detectors, in the order of the kind's sites.
        num_observables: as the DEM counts them.
        certain_observables: those that errors without detectors flip in the DEM that was read, at even odds
            or worse: which rounds they belong to is not to be seen.
        cut, cycle: layers [cut - cycle, cut) repeat; cycle is 0 where nothing does.
        num_layers: of this experiment: len(source) plus or minus a multiple of `cycle`.
        span: the largest number of layers from a component's first detector to its last.
        reach: the largest number of layers from a mechanism's first detector to its last.
    """

    positions: tuple[tuple[float, ...], ...]
    kinds: tuple[LayerKind, ...]
    source: tuple[int, ...]
    source_detectors: tuple[np.ndarray, ...]
    num_observables: int
    certain_observables: tuple[int, ...]
    cut: int
    cycle: int
    num_layers: int
    span: int
    reach: int

    @classmethod
    def from_dem(cls, dem: stim.DetectorErrorModel, *, correlated: bool = False) -> LayeredDem:
        """Reads a DEM, in normal form for matching; of a long REPEAT block only a few iterations.

        Layers are as `layers_of` says.

        Args:
            correlated: whether the windows' matching uses correlations.

        Raises:
            ValueError: a mechanism is not decomposed into edges, or a detector has no coordinates.
        """
        short = shortened(dem)
        if short is not dem:
            layers = _read(short, correlated=correlated)
            missing, per_cycle = dem.num_detectors - short.num_detectors, layers.detectors_per_cycle
            wanted = layers.num_layers + missing // max(per_cycle, 1) * layers.cycle
            if layers.can_have(wanted):
                long = layers.with_layers(wanted)
                if np.array_equal(np.sort(long.detector_order()), np.arange(dem.num_detectors)):
                    return long
        return _read(dem, correlated=correlated)

    def can_have(self, num_layers: int) -> bool:
        """Whether `with_layers(num_layers)` succeeds."""
        added = num_layers - len(self.source)
        if added == 0 or not self.cycle or added % self.cycle:
            return added == 0
        # Layers can be left out where those that then meet are a cycle apart.
        run = self.source[max(0, self.cut + added - self.cycle) : self.cut]
        return added > 0 or (self.cut + added >= self.cycle and run[: -self.cycle] == run[self.cycle :])

    def with_layers(self, num_layers: int) -> LayeredDem:
        """The same experiment with more, or fewer, of its repeating layers.

        Raises:
            ValueError: the layers do not repeat, or not in that number.
        """
        if self.can_have(num_layers):
            return dataclasses.replace(self, num_layers=num_layers)
        why = (
            f"repeat every {self.cycle} after the first {self.cut - self.cycle} of {len(self.source)}"
            if self.cycle
            else "show no repetition; give a circuit or DEM with more rounds"
        )
        raise ValueError(f"num_layers={num_layers} detector layers cannot be made: the layers {why}")

    @cached_property
    def endless(self) -> LayeredDem:
        """The experiment while its end is not in sight: endless where its layers repeat."""
        return self.with_layers(len(self.source) + _ENDLESS * self.cycle) if self.cycle else self

    @property
    def detectors_per_cycle(self) -> int:
        return sum(len(self.kinds[k].sites) for k in self.source[self.cut - self.cycle : self.cut])

    def skeleton(self) -> LayeredDem:
        """The same layers without their mechanisms: enough to place windows, not to cut them."""
        return dataclasses.replace(
            self, kinds=tuple(dataclasses.replace(kind, mechanisms=None) for kind in self.kinds)
        )

    def source_layer(self, layer: int) -> tuple[int, int]:
        """The layer of the source that looks the same, and how many cycles later this one is."""
        added = self.num_layers - len(self.source)
        if layer < min(self.cut, self.cut + added):
            return layer, 0
        if layer >= self.cut + added:
            return layer - added, added // self.cycle if added else 0
        cycles, phase = divmod(layer - self.cut, self.cycle)
        return self.cut - self.cycle + phase, cycles + 1

    def kind_id(self, layer: int) -> int:
        """Index into `kinds`; -1 before the first layer and after the last."""
        return self.source[self.source_layer(layer)[0]] if 0 <= layer < self.num_layers else -1

    def kind(self, layer: int) -> LayerKind:
        return self.kinds[self.kind_id(layer)]

    def certain_flips(self, layer: int) -> np.ndarray:
        """uint8 0/1 (detectors of the layer,): detections of what always happens."""
        index = self.kind(layer).index_of
        bits = np.zeros(len(index), dtype=np.uint8)
        for t in range(max(0, layer - self.reach), layer + 1):
            for component in self.kind(t).certain:
                for offset, site in component.detectors:
                    if t + offset == layer:
                        bits[index[site]] ^= 1
        return bits

    def sites_at(self, layer: int) -> list[tuple[float, ...]]:
        """Positions of the layer's detectors, in their order."""
        return [self.positions[site] for site in self.kind(layer).sites]

    def detectors(self, layer: int) -> np.ndarray:
        """int64: the DEM's detectors in this layer, in the order of the kind's sites."""
        source, cycles = self.source_layer(layer)
        return self.source_detectors[source] + cycles * self.detectors_per_cycle

    def detector_order(self) -> np.ndarray:
        """int64 (num_detectors,): detectors of layer 0, then layer 1, ..."""
        if not self.num_layers:
            return np.zeros(0, dtype=np.int64)
        return np.concatenate([self.detectors(layer) for layer in range(self.num_layers)])

    def detector_places(self) -> np.ndarray:
        """int32 (num_detectors, 2): layer and site of each detector of the DEM."""
        places = np.empty((len(self.detector_order()), 2), dtype=np.int32)
        sites = [(t, site) for t in range(self.num_layers) for site in self.kind(t).sites]
        places[self.detector_order()] = np.array(sites, dtype=np.int32).reshape(-1, 2)
        return places

    def footprints(self) -> Iterator[tuple[int, ...]]:
        """The distinct sets of layers that components touch."""
        for layer in range(self.num_layers):
            for footprint in self.kind(layer).footprints:
                yield tuple(layer + offset for offset in footprint)


def layers_of(coordinates: Sequence[Sequence[float]]) -> np.ndarray:
    """Layers of detectors in time, 0, 1, ...; int64 (n,).

    Time is the third coordinate (`qec.time_of`); nothing looks at the annotations after it. Where every place
    has one detector a layer, layers are those of `qec.layers_of_detectors`, which may share times;
    otherwise they are the distinct times.

    Raises:
        ValueError: a detector has no coordinates.
    """
    for detector, where in enumerate(coordinates):
        if not where:
            raise ValueError(f"detector D{detector} has no coordinates, so its round is unknown")
    times = np.array([time_of(where) for where in coordinates], dtype=np.float64)
    places = np.zeros((len(coordinates), 2))
    for detector, where in enumerate(coordinates):
        position = position_of(where)
        places[detector, : len(position)] = position
    try:
        return layers_of_detectors(times, places)
    except LayoutError:
        return np.unique(times, return_inverse=True)[1].reshape(-1)


def _read(dem: stim.DetectorErrorModel, *, correlated: bool) -> LayeredDem:
    # Flat: equal layers look equal only if what iterations share is merged everywhere.
    normal = normal_form(dem.flattened())
    matched = normal.correlated_dem if correlated else normal.matching_dem
    require_edges(matched, decoder="windowed decoding")
    coordinates = detector_coordinates(dem)
    layer_of = layers_of(coordinates)
    sites, positions = _sites(coordinates, layer_of)
    num_layers = int(layer_of.max(initial=-1)) + 1
    found = _mechanisms_by_layer(mechanisms(matched), layer_of, sites, num_layers)
    # Certain errors stand alone: what else their mechanism flips always happens too.
    always = [whole for m in mechanisms(normal.certain) for whole in m.whole().components]
    certain = _mechanisms_by_layer(
        (DemMechanism(1.0, (part,)) for part in always), layer_of, sites, num_layers
    )
    detectors = tuple(np.flatnonzero(layer_of == layer) for layer in range(num_layers))
    kinds, source = _distinct(
        LayerKind(
            tuple(sites[detectors[layer]].tolist()),
            tuple(found[layer]),
            tuple(component for m in certain[layer] for component in m.components),
        )
        for layer in range(num_layers)
    )
    cut, cycle = _repetition(source)
    footprints = [footprint for kind in kinds for footprint in kind.footprints]
    placeless = Counter(flip for flipped, flips in always if not flipped for flip in flips)
    return LayeredDem(
        positions=positions,
        kinds=kinds,
        source=source,
        source_detectors=detectors,
        num_observables=dem.num_observables,
        certain_observables=tuple(sorted(flip for flip, times in placeless.items() if times % 2)),
        cut=cut,
        cycle=cycle,
        num_layers=num_layers,
        span=max((f[-1] - f[0] for f in footprints), default=0),
        reach=max((f[-1] for f in footprints), default=0),
    )


def _distinct(layers: Iterable[LayerKind]) -> tuple[tuple[LayerKind, ...], tuple[int, ...]]:
    """The distinct kinds of layers, and which of them each layer has.

    Kinds whose probabilities differ by rounding alone are one: Stim's sums are of any order. (To round them
    to some digits and compare those would tell apart neighbours of which one is rounded up.)
    """
    kinds: list[LayerKind] = []
    probabilities: list[np.ndarray] = []
    alike: dict[object, list[int]] = {}
    source = []
    for kind in layers:
        mechanisms = kind.known_mechanisms
        own = np.array([m.probability for m in mechanisms])
        candidates = alike.setdefault((kind.sites, tuple(m.components for m in mechanisms), kind.certain), [])
        number = next((k for k in candidates if np.allclose(own, probabilities[k], _ROUNDING, 0)), len(kinds))
        if number == len(kinds):
            kinds.append(kind)
            probabilities.append(own)
            candidates.append(number)
        source.append(number)
    return tuple(kinds), tuple(source)


def _sites(
    coordinates: Sequence[Sequence[float]], layer_of: np.ndarray
) -> tuple[np.ndarray, tuple[tuple[float, ...], ...]]:
    """int64 (num_detectors,), a number for the position in space; positions."""
    sites = np.empty(len(coordinates), dtype=np.int64)
    index: dict[tuple[float, ...], int] = {}
    seen: dict[tuple[float, ...], int] = {}
    for detector, (where, layer) in enumerate(zip(coordinates, layer_of.tolist(), strict=True)):
        # Detectors at one place in one layer are told apart by their order.
        place = position_of(where)
        twin = seen[(*place, layer)] = seen.get((*place, layer), -1) + 1
        sites[detector] = index.setdefault((*place, twin), len(index))
    return sites, tuple(index)


def _mechanisms_by_layer(
    errors: Iterable[DemMechanism], layer_of: np.ndarray, sites: np.ndarray, num_layers: int
) -> list[list[Mechanism]]:
    """Mechanisms that can be seen, at their earliest layer."""
    found: list[list[Mechanism]] = [[] for _ in range(num_layers)]
    for error in errors:
        parts = [(list(detectors), flips) for detectors, flips in error.components if detectors]
        if parts:
            first = min(int(layer_of[detectors].min()) for detectors, _ in parts)
            components = tuple(_component(layer_of[at] - first, sites[at], flips) for at, flips in parts)
            found[first].append(Mechanism(error.probability, components))
    # Stim orders mechanisms by detector number, which differs at the ends; equal layers must look equal.
    for group in found:
        group.sort(key=lambda m: ([c.detectors for c in m.components], m.probability))
    return found


def _component(layers: np.ndarray, sites: np.ndarray, flips: tuple[int, ...]) -> Component:
    return Component(tuple(sorted(zip(layers.tolist(), sites.tolist(), strict=True))), flips)


def _repetition(source: tuple[int, ...]) -> tuple[int, int]:
    """(cut, cycle): the smallest period of the longest stretch that repeats, and a place inside it."""
    for cycle in range(1, _MAX_PERIOD + 1):
        best = (0, 0)
        start = 0
        for t in range(cycle, len(source) + 1):
            if t == len(source) or source[t] != source[t - cycle]:
                best = max(best, (t - start, start))
                start = t - cycle + 1
        length, start = best
        if length >= 2 * cycle and length >= 3:
            return start + length - length % cycle, cycle
    return 0, 0
