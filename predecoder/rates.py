"""The noise features of a DEM as a network takes them, for whole experiments and for streams.

Shape legend: (T, I, J) the detector grid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from predecoder.blocking import block
from qec import NOISE_FEATURES, DecodingProblem

if TYPE_CHECKING:
    from predecoder.stream_layers import StreamLayers

__all__ = ["StreamRates", "blocked_rates"]


def blocked_rates(problem: DecodingProblem) -> np.ndarray:
    """`DecodingProblem.noise_features` as a network takes them, channels last: float32 `(1, t, i, j, 64)`."""
    return block(problem.noise_features[None])


class StreamRates:
    """The same where an experiment's length is not known before it ends, layer by layer.

    Layers look alike by the mechanisms that begin in them. Those of experiments of other lengths are exact
    where no mechanism spans more layers than repeat, and near the cut off by a few mechanisms where one does.
    """

    def __init__(self, problem: DecodingProblem, layers: StreamLayers) -> None:
        """`layers` say how experiments look that are longer or shorter than the problem's."""
        self._rates, self._layers = problem.noise_features, layers

    def of(self, start: int, stop: int, *, num_layers: int | None) -> np.ndarray:
        """Rates float32 `(8, stop - start, I, J)` of layers from `start`; zero past the experiment's end.

        Args:
            num_layers: of the experiment; None where layers that tell its end apart follow `stop`.
        """
        experiment = self._layers.experiment(num_layers)
        last = stop if num_layers is None else min(stop, num_layers)
        sources = [experiment.source_layer(t)[0] for t in range(start, last)]
        rates = np.zeros((NOISE_FEATURES, stop - start, *self._rates.shape[2:]), dtype=np.float32)
        rates[:, : len(sources)] = self._rates[:, sources]
        return rates
