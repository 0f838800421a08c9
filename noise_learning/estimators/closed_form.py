"""Every mechanism on its own, by the closed form."""

from __future__ import annotations

import numpy as np

from noise_learning.estimators.attenuations import clipped
from noise_learning.estimators.fit import NoiseFit
from noise_learning.estimators.learning_data import LearningData
from noise_learning.estimators.raw_attenuations import closed_form_variances
from noise_learning.models.structure import Structure
from noise_learning.moments.moments import Moments


def fit_closed_form(moments: Moments | LearningData, structure: Structure) -> NoiseFit:
    """Every mechanism on its own, from the moments of its detectors' subsets.

    A mechanism that needs a dropped equation keeps the prior, scaled to the others; estimates below a
    tenth of the scaled prior are raised to it.

    Raises:
        ValueError: the moments are of too few shots, or of other subsets.
    """
    data = LearningData.of(moments, structure)
    raw = data.raw
    a = clipped(raw.a, towards=raw.prior, shots=data.shots)
    spread = np.sqrt(closed_form_variances(data.structure, raw.matrix, a, shots=data.shots))
    unknown = np.count_nonzero(~raw.known)
    note = f"{unknown} detector sets keep the prior, scaled by {raw.scale:.3g}"
    return NoiseFit.of_sets(
        data,
        a,
        np.where(raw.known, spread, raw.prior),
        estimator="closed-form",
        free=len(a),
        notes=(note,) if unknown else (),
    )
