"""From a circuit and its shots to learned noise, in one call."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import stim

from noise_learning.estimators import NoiseFit, learn
from noise_learning.models import SharedParameterModel
from noise_learning.moments import Moments

__all__ = ["learn_noise"]


def learn_noise(circuit: stim.Circuit, shots: np.ndarray | Iterable[np.ndarray]) -> NoiseFit:
    """Fit the noise of a circuit to detection events, by the default estimator (see `learn`).

    Args:
        circuit: with noise: its locations count, its rates are a first guess.
        shots: uint8 `(shots, ceil(num_detectors / 8))`, little-endian bits, or an iterable of such arrays
            (such as `qec.iter_shots`); no labels are needed.

    Returns:
        The fit: `.dem()` is for any decoder; `.p` and `.sigma` are probabilities and standard errors.

    Raises:
        ValueError: a circuit whose noise cannot be learned, or shots that do not fit it.
    """
    model = SharedParameterModel.of_circuit(circuit)
    return learn(Moments.from_shots(model.structure.subsets, shots), model)
