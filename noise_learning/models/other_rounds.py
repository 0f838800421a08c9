"""The mechanisms of an experiment with another number of rounds, by time translation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from noise_learning.models.structure import MechanismSymptoms, Structure
from qec import position_of, time_of

__all__ = ["number_of_rounds", "with_rounds"]

_TIME_DIGITS = 6  # times that agree to so many digits are equal


def number_of_rounds(structure: Structure) -> int:
    """Detector layers less one: a memory's last layer is from the measurement of its data qubits.

    Raises:
        ValueError: a detector without coordinates.
    """
    return len(_layers(structure)) - 1


def with_rounds(structure: Structure, rounds: int) -> Structure:
    """The same experiment with more or fewer rounds, where those in the middle are alike.

    Detectors are numbered layer after layer, as in circuits that measure round after round, and within a
    layer as they are in the given structure.

    Raises:
        ValueError: detectors without coordinates or not in the order of time, or a number of rounds that
            cannot be made from these, with the least that can.
    """
    layers = _layers(structure)
    before = len(layers) - 1
    if rounds == before:
        return structure
    layer_of = {d: k for k, layer in enumerate(layers) for d in layer}
    starts: list[list[int]] = [[] for _ in layers]
    unseen: list[int] = []
    reach = 0
    for j, mechanism in enumerate(structure.mechanisms):
        if mechanism.detectors:
            touched = [layer_of[d] for d in mechanism.detectors]
            starts[min(touched)].append(j)
            reach = max(reach, max(touched) - min(touched))
        else:
            unseen.append(j)
    first, after = _alike(_signatures(structure, layers, starts))
    least = before - max(after - first - max(reach - 1, 0), 0)
    if after - first < 2 or rounds < least:
        what = f"{least} and more" if after - first >= 2 else "no other number of"
        raise ValueError(
            f"{before} rounds say what mechanisms {what} rounds have, not {rounds}; give an experiment of "
            f"{rounds} rounds, or one of more than {before}"
        )
    added = rounds - before
    # Layer of the given experiment, and by how many layers it is moved, for each layer of the new one.
    templates = [(k, 0) for k in range(after + min(added, 0))]
    templates += [(after - 1, k) for k in range(1, added + 1)]
    templates += [(k, added) for k in range(after, len(layers))]
    return _assembled(structure, layers, layer_of, templates, starts, unseen)


def _assembled(
    structure: Structure,
    layers: Sequence[Sequence[int]],
    layer_of: dict[int, int],
    templates: Sequence[tuple[int, int]],
    starts: Sequence[Sequence[int]],
    unseen: Sequence[int],
) -> Structure:
    """The structure of layers that are moved copies of others, with the mechanisms that start in them."""
    times = [time_of(structure.coordinates[layer[0]]) for layer in layers]
    step = (times[-1] - times[0]) / (len(times) - 1)
    coordinates: list[tuple[float, ...]] = []
    numbers: dict[tuple[int, tuple[float, ...]], int] = {}
    for k, (template, moved) in enumerate(templates):
        for d in layers[template]:
            numbers[k, position_of(structure.coordinates[d])] = len(coordinates)
            coordinates.append(_later(structure.coordinates[d], moved * step))

    def translated(detectors: Iterable[int], moved: int) -> tuple[int, ...]:
        places = ((layer_of[d] + moved, position_of(structure.coordinates[d])) for d in detectors)
        return tuple(sorted(numbers[place] for place in places))

    mechanisms = [structure.mechanisms[j] for j in unseen]
    origin = list(unseen)
    for template, moved in templates:
        for j in starts[template]:
            one = structure.mechanisms[j]
            components = tuple((translated(ds, moved), observables) for ds, observables in one.components)
            mechanisms.append(
                MechanismSymptoms(translated(one.detectors, moved), one.observables, components)
            )
            origin.append(j)
    return Structure.of_mechanisms(
        mechanisms,
        structure.prior[origin],
        structure.certain[origin],
        num_observables=structure.num_observables,
        coordinates=coordinates,
    )


def _layers(structure: Structure) -> list[list[int]]:
    """Detectors by their time, in the order of time."""
    if not all(structure.coordinates):
        missing = next(d for d, c in enumerate(structure.coordinates) if not c)
        raise ValueError(
            f"detector D{missing} has no coordinates, so its round is unknown; give DETECTOR(x, y, t)"
        )
    times = [round(time_of(c), _TIME_DIGITS) for c in structure.coordinates]
    late = next((d for d in range(1, len(times)) if times[d] < times[d - 1]), None)
    if late is not None:
        raise ValueError(
            f"detector D{late} is at time {times[late]:g}, before D{late - 1} at {times[late - 1]:g}: rounds "
            "can only be told apart where detectors are declared in the order of time"
        )
    numbers = {t: k for k, t in enumerate(dict.fromkeys(times))}
    layers: list[list[int]] = [[] for _ in numbers]
    for d, t in enumerate(times):
        layers[numbers[t]].append(d)
    return layers


def _signatures(
    structure: Structure, layers: Sequence[Sequence[int]], starts: Sequence[Sequence[int]]
) -> list[object]:
    """What a layer and the mechanisms that start in it are, but for the time."""
    found: list[object] = []
    for layer, inside in zip(layers, starts, strict=True):
        time = time_of(structure.coordinates[layer[0]])

        def placed(detectors: Iterable[int], time: float = time) -> tuple[object, ...]:
            where = (structure.coordinates[d] for d in detectors)
            return tuple(sorted((*position_of(c), round(time_of(c) - time, _TIME_DIGITS)) for c in where))

        found.append(
            (
                tuple(position_of(structure.coordinates[d]) for d in layer),
                frozenset(
                    (
                        one.observables,
                        bool(structure.certain[j]),
                        frozenset((placed(detectors), flips) for detectors, flips in one.components),
                    )
                    for j, one in ((j, structure.mechanisms[j]) for j in inside)
                ),
            )
        )
    return found


def _alike(signatures: Sequence[object]) -> tuple[int, int]:
    """First, and one after the last, of the longest run of equal signatures."""
    first, after, start = 0, 0, 0
    for k in range(1, len(signatures) + 1):
        if k == len(signatures) or signatures[k] != signatures[start]:
            if k - start > after - first:
                first, after = start, k
            start = k
    return first, after


def _later(coordinates: Sequence[float], by: float) -> tuple[float, ...]:
    place = len(position_of(coordinates))
    return (*coordinates[:place], coordinates[place] + by, *coordinates[place + 1 :])
