"""The noise features of streams: those of the DEM that was read, layer by layer.

Shape legend: (I, J) the ancilla grid.
"""

from __future__ import annotations

import numpy as np

from predecoder.correction.stream_layers import StreamLayers
from qec import NOISE_FEATURES, DecodingProblem

__all__ = ["StreamNoiseFeatures"]


class StreamNoiseFeatures:
    """`DecodingProblem.noise_features` where an experiment's length is not known before it ends.

    Layers look alike by the mechanisms that begin in them. Those of experiments of other lengths are exact
    where no mechanism spans more layers than repeat, and near the cut off by a few mechanisms where one does.
    """

    def __init__(self, problem: DecodingProblem, layers: StreamLayers) -> None:
        """`layers` say how experiments look that are longer or shorter than the problem's."""
        self._features, self._layers = problem.noise_features, layers

    def of(self, start: int, stop: int, *, num_layers: int | None) -> np.ndarray:
        """float32 `(8, stop - start, I, J)` of layers from `start`; zero past the experiment's end.

        Args:
            start, stop: layers.
            num_layers: of the experiment; None where layers that tell its end apart follow `stop`.
        """
        experiment = self._layers.experiment(num_layers)
        last = stop if num_layers is None else min(stop, num_layers)
        sources = [experiment.source_layer(t)[0] for t in range(start, last)]
        features = np.zeros((NOISE_FEATURES, stop - start, *self._features.shape[2:]), dtype=np.float32)
        features[:, : len(sources)] = self._features[:, sources]
        return features
