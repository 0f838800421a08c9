"""The graphs that one erased round needs, built before one is: which they are, and in what order."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from decoder_service.streaming.layer_source import LayerSource
from decoder_service.streaming.model import StreamModel
from decoder_service.streaming.shot import Edges, seen_by
from global_decoders.windows import LayeredDem, Window

__all__ = ["build_erasures"]


def build_erasures(
    source: LayerSource, model: StreamModel, *, num_layers: int | None, throttle: Callable[[], None]
) -> Iterator[None]:
    """Builds one a step, those of the most frequent windows first, until there is no more room.

    Args:
        source: says what an erased round takes from each layer.
        model: whose graphs they are.
        num_layers: of all shots, if they are known to have as many: endings then have theirs too.
        throttle: called every few edges of a graph.
    """
    for layers, window, lost in _single(source, model, num_layers):
        if not model.graphs.prebuild(layers, window, erased=lost, throttle=throttle):
            return
        yield


def _single(
    source: LayerSource, model: StreamModel, num_layers: int | None
) -> Iterator[tuple[LayeredDem, Window, Edges]]:
    """Windows with what one erased round adds to them."""
    for window in reversed(model.bulk_windows(num_layers)):
        for round in range(max(0, window.start - 1), window.stop):
            yield model.open_layers, window, seen_by(window, source.lost(round, layers=source.open_layers))
    for layers, window in model.endings(num_layers) if num_layers is not None else ():
        if not source.layers.can_have(layers.num_layers):
            continue  # the new model repeats otherwise than the source: built when it is needed
        ending = source.layers.with_layers(layers.num_layers)
        for round in range(max(0, window.start - 1), window.stop - 1):
            yield layers, window, seen_by(window, source.lost(round, layers=ending))
