"""The layers of an experiment on a stream, whose length is not known before it ends."""

from __future__ import annotations

from global_decoders.windows import LayeredDem
from qec import DetectorLayout

__all__ = ["StreamLayers"]


class StreamLayers:
    """Experiments of any length that look like the one that was read.

    Attributes:
        ending: the last layers, of an experiment of any length, that differ from those of one that goes on.
    """

    def __init__(self, layout: DetectorLayout, layers: LayeredDem) -> None:
        """Check that layout and layers are of one DEM.

        Raises:
            ValueError: `layers` were read from a DEM of another number of layers.
        """
        if len(layers.source) != layout.layers:
            raise ValueError(
                f"the layers were read from a DEM of {len(layers.source)} layers but the layout has "
                f"{layout.layers}; read both from one DEM"
            )
        self._layers = layers
        # The last layers of an experiment, which are those of the source from `cut` on, differ.
        self.ending = len(layers.source) - layers.cut if layers.cycle else 0

    def experiment(self, num_layers: int | None) -> LayeredDem:
        """The one of `num_layers`, or one that does not end."""
        return self._layers.endless if num_layers is None else self._layers.with_layers(num_layers)
