"""Another model for a running stream: whether it fits, and which windows use it."""

from __future__ import annotations

import numpy as np

from decoder_service.streaming.model import StreamModel
from global_decoders.windows import LayeredDem, Window, WindowMatcher

__all__ = ["ModelSchedule", "check_fits"]


def check_fits(old: StreamModel, new: StreamModel, *, num_layers: int | None = None) -> None:
    """Whether a stream of the old model can go on with the new one at any window.

    The graphs of both are built by this.

    Args:
        num_layers: of all shots, if they are known to have as many.

    Raises:
        ValueError: other detectors or observables, detectors in another order, experiments of other
            lengths, or detections that only the old model explains.
    """
    _check_same_detectors(old.layers, new.layers)
    if old.layers.cycle and (not new.layers.cycle or old.layers.cycle % new.layers.cycle):
        has = f"repeats every {new.layers.cycle} layers" if new.layers.cycle else "does not repeat"
        raise ValueError(
            f"the stream's layers repeat every {old.layers.cycle}, but the DEM {has}, "
            "so it has no experiments of all lengths of the stream; give a DEM of more equal rounds"
        )
    for window in old.bulk_windows(num_layers):
        _check_explains(old, new, window, old.open_layers, new.open_layers)
    for layers, window in old.endings(num_layers):
        _check_explains(old, new, window, layers, new.layers.with_layers(layers.num_layers))


def _check_explains(
    old: StreamModel, new: StreamModel, window: Window, ours: LayeredDem, theirs: LayeredDem
) -> None:
    """Raises ValueError unless the new model explains in this window what the old one does."""
    before = old.graphs.matcher(ours, window)
    after = new.graphs.matcher(theirs, window)
    if not _explains(after, before.certain_inputs[None]):
        raise ValueError(
            f"the DEM cannot explain what always happens in layers {window.start} to {window.stop - 1} of "
            "the stream's model; keep small probabilities above 0, and large ones below 1"
        )
    lost = np.flatnonzero(_explained(before) & ~_explained(after))
    if len(lost):
        layer, site = before.places.inputs[lost[0]]
        raise ValueError(
            f"no mechanism of the DEM explains a detection at {old.layers.positions[site]} in layer "
            f"{window.start + layer}, which the stream's model does; keep small probabilities above 0"
        )


class ModelSchedule:
    """The model in use and those that take over: each for windows that commit from some round on."""

    def __init__(self, model: StreamModel) -> None:
        self._current = model
        self._adopted: list[tuple[int, StreamModel]] = []

    @property
    def current(self) -> StreamModel:
        """Of the shot as it began."""
        return self._current

    def adopt(self, model: StreamModel, at_round: int) -> None:
        """From `at_round` of this shot on, whatever was adopted before; and for later shots."""
        self._adopted.append((at_round, model))

    def next_shot(self) -> None:
        """What was adopted last is now in use from the first round on."""
        if self._adopted:
            self._current = self._adopted[-1][1]
            self._adopted.clear()

    def of_window(self, lo: int) -> StreamModel:
        """The model of a window that commits from layer `lo` on: of those due, the last adopted."""
        due = (model for at_round, model in reversed(self._adopted) if at_round <= lo)
        return next(due, self._current)


def _explained(matcher: WindowMatcher) -> np.ndarray:
    """bool (inputs,): which detections, each besides what always happens, some set of edges explains.

    Sums of explained syndromes are explained.
    """
    single = np.eye(len(matcher.places.inputs), dtype=np.uint8) ^ matcher.certain_inputs
    try:
        matcher.decode(single)
    except ValueError:
        return np.array([_explains(matcher, row[None]) for row in single])
    return np.ones(len(single), dtype=bool)


def _explains(matcher: WindowMatcher, detections: np.ndarray) -> bool:
    try:
        matcher.decode(detections)
    except ValueError:
        return False
    return True


def _check_same_detectors(old: LayeredDem, new: LayeredDem) -> None:
    """Raises ValueError unless both have the same detectors in every layer, by the same numbers.

    Sites are numbered as a DEM first names them; artificial defects and erased rounds go by these numbers.
    """
    if new.num_observables != old.num_observables:
        raise ValueError(f"the DEM has {new.num_observables} observables, the stream {old.num_observables}")
    longer, other = (new, old) if new.num_layers >= old.num_layers else (old, new)
    other = other.with_layers(longer.num_layers)
    for layer in range(longer.num_layers):
        if longer.sites_at(layer) != other.sites_at(layer):
            raise ValueError(
                f"the DEM has other detectors than the stream in layer {layer}: "
                f"{len(new.kind(min(layer, new.num_layers - 1)).sites)} of them, or elsewhere"
            )
        if longer.kind(layer).sites != other.kind(layer).sites:
            raise ValueError(
                f"the DEM numbers the detectors of layer {layer}, or of one before it, in another order than "
                "the stream does; number them layer by layer, as the stream's circuit or DEM does"
            )
