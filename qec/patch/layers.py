"""Read space and time off detector coordinates (x, y, t, annotations ...), and layers in time off these."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qec.patch.lattice import LayoutError

__all__ = ["layers_of_detectors", "position_of", "space_time_coordinates", "time_of"]

_TOLERANCE = 1e-6


def time_of(coordinates: Sequence[float]) -> float:
    """Return the third coordinate; of fewer than three, as of a repetition code's (x, t), the last."""
    return coordinates[min(2, len(coordinates) - 1)]


def position_of(coordinates: Sequence[float]) -> tuple[float, ...]:
    """Return the coordinates before time; those after it, such as a colour or a basis, are annotations."""
    return tuple(coordinates[: min(2, len(coordinates) - 1)])


def space_time_coordinates(coordinates: Sequence[Sequence[float]]) -> np.ndarray:
    """Check that every detector has coordinates and return the first three: float64 `(n, 3)`: x, y, t.

    What follows the third, such as a colour or a basis, is an annotation that nothing here looks at.

    Raises:
        LayoutError: no detectors, or one without three finite coordinates.
    """
    if not coordinates:
        raise LayoutError("the model has no detectors, so there is nothing to lay out")
    for k, c in enumerate(coordinates):
        if len(c) < 3 or not np.all(np.isfinite(c[:3])):
            raise LayoutError(
                f"detector D{k} has coordinates {list(c)}, expected (x, y, t) or more; "
                "add DETECTOR(x, y, t) coordinates to the circuit"
            )
    return np.array([c[:3] for c in coordinates], dtype=np.float64)


def layers_of_detectors(times: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Map detectors to layers 0, 1, ...; int64 `(n,)`.

    Where times are equally spaced and every place has detectors in consecutive layers, one each, layers
    are those of the times. Otherwise (detectors of several layers that share a time, types that are
    measured at different times of a round) the detectors of one place are taken in the order of their
    times and, where these are equal, of their numbers; a type with two layers fewer begins one later.
    All places of one type must then have the same times.

    Args:
        times: float64 `(n,)`.
        positions: float64 `(n, 2)`.

    Raises:
        LayoutError: neither gives every place one detector in each of consecutive layers.
    """
    _, place = np.unique(np.round(positions, 9), axis=0, return_inverse=True)
    place = place.reshape(-1)
    layers, off = _of_times(times)
    if off is None and _is_consecutive(layers, place):
        return layers
    ranks = _of_ranks(times, place)
    if ranks is not None:
        return ranks
    if off is not None:
        raise LayoutError(off)
    order = np.lexsort([times, place])
    apart = (np.diff(place[order]) == 0) & (np.diff(layers[order]) != 1)
    first, second = np.sort(order[int(np.argmax(apart)) :][:2])
    x, y = positions[first]
    raise LayoutError(
        f"detectors D{first} and D{second} at (x, y) = ({x:g}, {y:g}) have times {times[first]:g} and "
        f"{times[second]:g}, which are not consecutive layers, and places have different numbers of detectors"
    )


def _of_times(times: np.ndarray) -> tuple[np.ndarray, str | None]:
    """Layers in units of the smallest difference between two times, and why they are none."""
    distinct = np.unique(times)
    step = np.diff(distinct).min() if len(distinct) > 1 else 1.0
    layers = (times - distinct[0]) / step
    rounded = np.rint(layers)
    worst = int(np.argmax(np.abs(layers - rounded)))
    off = None
    if abs(layers[worst] - rounded[worst]) > _TOLERANCE:
        off = (
            f"detector D{worst} has time {times[worst]:g}, which is not a whole number of layers "
            f"of {step:g} after {distinct[0]:g}"
        )
    return rounded.astype(np.int64), off


def _is_consecutive(layers: np.ndarray, place: np.ndarray) -> bool:
    """Whether every place has one detector in each layer between its first and its last."""
    order = np.lexsort([layers, place])
    same = np.diff(place[order]) == 0
    return bool((np.diff(layers[order])[same] == 1).all())


def _of_ranks(times: np.ndarray, place: np.ndarray) -> np.ndarray | None:
    """Layers by the order of detectors at each place; None where these do not fit together."""
    order = np.lexsort([times, place])  # stable: equal times stay in the order of their numbers
    counts = np.bincount(place)
    rank = np.empty(len(place), dtype=np.int64)
    rank[order] = np.arange(len(place)) - np.repeat(np.cumsum(counts) - counts, counts)
    missing = counts.max() - counts
    histories = {tuple(h.tolist()) for h in np.split(np.round(times[order], 6), np.cumsum(counts)[:-1])}
    if not set(missing.tolist()) <= {0, 2} or len(histories) > 2:  # one for each type
        return None
    layers = rank + (missing // 2)[place]
    # Types may be measured at different times of a round, but a layer does not begin before the one before
    # the last has ended.
    last = np.full(layers.max() + 1, -np.inf)
    np.maximum.at(last, layers, times)
    late = layers >= 2
    return layers if (times[late] >= last[layers[late] - 2] - _TOLERANCE).all() else None
