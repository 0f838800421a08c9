"""From raw measurements to detectors, one round at a time, for experiments of any length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import stim

from global_decoders.windows import Component, LayeredDem, shortened

__all__ = ["RoundMap", "round_dem"]

Source = tuple[int, int]
"""A measurement as (rounds back, index in its round)."""


def round_dem(circuit: stim.Circuit) -> stim.DetectorErrorModel:
    """The circuit's error model, for a few rounds of a long REPEAT block.

    Decomposed, and flat, so that the layers that are read of it are the circuit's rounds, one by one.
    """
    return (
        shortened(circuit)
        .detector_error_model(decompose_errors=True, approximate_disjoint_errors=True)
        .flattened()
    )


@dataclass(frozen=True)
class RoundMap:
    """Which measurements make up each detector; round r completes detector layer r.

    A round is the measurements between one group of DETECTOR instructions and the next.

    Attributes:
        widths: measurements in each round of the circuit that was read.
        detectors: per layer and detector, in the order of the layer's sites, its measurements.
        parities: per layer uint8 (detectors,): 1 where the noiseless parity is 1.
        observables: per observable its measurements, all in the last round.
        observable_parities: uint8 (observables,).
        erasures: per round the detectors that each of its measurements flips, with the layer they
            begin in, relative to the round.
        depth: the largest number of rounds that a detector looks back.
    """

    widths: tuple[int, ...]
    detectors: tuple[tuple[tuple[Source, ...], ...], ...]
    parities: tuple[np.ndarray, ...]
    observables: tuple[tuple[int, ...], ...]
    observable_parities: np.ndarray
    erasures: tuple[tuple[tuple[int, Component], ...], ...]
    depth: int

    @classmethod
    def from_circuit(cls, circuit: stim.Circuit, *, layers: LayeredDem) -> RoundMap:
        """Reads a circuit; `layers` are those of its DEM, layer r being complete after round r.

        Raises:
            ValueError: the circuit's groups of measurements are not its detector layers, a
                detector uses a later round, or an observable a measurement before the last round.
        """
        place, widths, detectors, observables = _records(circuit)
        if not len(widths) == layers.num_layers == len(layers.source):
            raise ValueError(
                f"the circuit has {len(widths)} groups of measurements followed by detectors, but "
                f"{layers.num_layers} detector layers in time; stream its detectors instead of measurements"
            )
        reference = circuit.reference_sample().astype(np.uint8)
        maps, parities = [], []
        erased: list[dict[int, list[tuple[int, int]]]] = [{} for _ in widths]
        for layer in range(layers.num_layers):
            row = []
            for site, detector in zip(layers.kind(layer).sites, layers.detectors(layer), strict=True):
                sources = [place[record] for record in detectors[detector]]
                if any(r > layer for r, _ in sources):
                    raise ValueError(
                        f"detector D{detector} of layer {layer} uses a measurement of a later round"
                    )
                row.append(tuple((layer - r, index) for r, index in sources))
                for r, index in sources:
                    erased[r].setdefault(index, []).append((layer - r, site))
            maps.append(tuple(row))
            parities.append(
                np.array([reference[detectors[d]].sum() % 2 for d in layers.detectors(layer)], dtype=np.uint8)
            )
        return cls(
            widths=tuple(widths),
            detectors=tuple(maps),
            parities=tuple(parities),
            observables=tuple(
                _last_round(k, records, place, len(widths)) for k, records in enumerate(observables)
            ),
            observable_parities=np.array([reference[r].sum() % 2 for r in observables], dtype=np.uint8),
            erasures=tuple(_erasures(flips) for flips in erased),
            depth=max((back for layer in maps for sources in layer for back, _ in sources), default=0),
        )

    def terms(self, layer: int, sites: Sequence[int]) -> list[tuple[list[int], list[int], list[int]]]:
        """How detections of a layer of the source follow from rounds, as `_qecpipe.RoundSource` takes it.

        Each term is rounds back, and for every bit of their sum the sites that it flips: starts, sites.

        Args:
            layer: of the source.
            sites: of its detectors.
        """
        flips: dict[int, Counter[tuple[int, int]]] = {}
        for site, sources in zip(sites, self.detectors[layer], strict=True):
            for back, index in sources:
                flips.setdefault(back, Counter())[index, site] += 1
        backs: dict[tuple[tuple[int, int], ...], list[int]] = {}
        for back, counts in flips.items():
            odd = tuple(sorted(pair for pair, count in counts.items() if count % 2))
            backs.setdefault(odd, []).append(back)
        terms = []
        for pairs, rounds_back in backs.items():
            bits = [index for index, _ in pairs]
            last = max(bits, default=-1)
            starts = np.searchsorted(bits, np.arange(last + 2)).tolist()
            terms.append((rounds_back, starts, [site for _, site in pairs]))
        return terms


def _records(
    circuit: stim.Circuit,
) -> tuple[list[tuple[int, int]], list[int], list[list[int]], list[list[int]]]:
    """Round and index of every measurement, widths of rounds, records of detectors and observables."""
    place: list[tuple[int, int]] = []
    widths: list[int] = []
    detectors: list[list[int]] = []
    observables: list[list[int]] = [[] for _ in range(circuit.num_observables)]
    open_round = False
    flat = circuit.flattened()
    for op in (flat[k] for k in range(len(flat))):
        if isinstance(op, stim.CircuitRepeatBlock):
            continue  # flattened() leaves none
        if op.name in ("DETECTOR", "OBSERVABLE_INCLUDE"):
            records = [len(place) + t.value for t in op.targets_copy() if t.is_measurement_record_target]
            if op.name == "DETECTOR":
                detectors.append(records)
                open_round = False
            else:
                observables[int(op.gate_args_copy()[0])] += records
        elif op.num_measurements:
            if not open_round:
                widths.append(0)
                open_round = True
            for _ in range(op.num_measurements):
                place.append((len(widths) - 1, widths[-1]))
                widths[-1] += 1
    return place, widths, detectors, observables


def _last_round(k: int, records: list[int], place: list[tuple[int, int]], rounds: int) -> tuple[int, ...]:
    early = [r for r in records if place[r][0] != rounds - 1]
    if early:
        raise ValueError(
            f"observable L{k} includes a measurement of round {place[early[0]][0]}, before the last; "
            "stream detectors instead of measurements"
        )
    return tuple(place[r][1] for r in records)


def _erasures(flips: dict[int, list[tuple[int, int]]]) -> tuple[tuple[int, Component], ...]:
    found = []
    for index, places in sorted(flips.items()):
        if len(places) > 2:
            raise ValueError(
                f"measurement {index} of a round is part of {len(places)} detectors, so an erased round has "
                "no matching graph; stream detectors instead of measurements"
            )
        first = min(offset for offset, _ in places)
        found.append((first, Component(tuple(sorted((at - first, site) for at, site in places)), ())))
    return tuple(found)
