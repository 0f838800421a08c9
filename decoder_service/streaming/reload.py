"""Another model for a running stream: whether it fits."""

from __future__ import annotations

import numpy as np

from decoder_service.streaming.model import StreamModel
from global_decoders.windows import LayeredDem, Window

__all__ = ["check_fits"]


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
    before, after = old.graphs.graph(ours, window), new.graphs.graph(theirs, window)
    if not after.explains(before.certain_inputs ^ after.certain_inputs):
        raise ValueError(
            f"the DEM cannot explain what always happens in layers {window.start} to {window.stop - 1} of "
            "the stream's model; keep small probabilities above 0, and large ones below 1"
        )
    # What the old model explains are sums of its edges.
    ends = after.components[before.ends]
    lost = np.flatnonzero(ends[:, 0] != ends[:, 1])
    if len(lost):
        layer, site = before.places.inputs[before.ends[lost[0], 1]]
        raise ValueError(
            f"no mechanism of the DEM explains a detection at {old.layers.positions[site]} in layer "
            f"{window.start + layer}, which the stream's model does; keep small probabilities above 0"
        )


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
