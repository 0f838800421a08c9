"""Model selection: the shared-parameter fit where chi^2 allows it, else a fit of every mechanism, shrunk."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from noise_learning.estimators.equations import covariance
from noise_learning.estimators.fit import NoiseFit
from noise_learning.estimators.hybrid import fit_hybrid
from noise_learning.estimators.learning_data import LearningData
from noise_learning.estimators.shared_parameter_fit import fit_shared_parameters, sample_rows
from noise_learning.estimators.stationary import fit_stationary
from noise_learning.estimators.unmodelled import UnmodelledTest
from noise_learning.models.shared_parameters import SharedParameterModel
from noise_learning.models.structure import attenuation
from noise_learning.moments.moments import Moments

# chi^2 per equation this many of its own standard deviations above 1: locations differ.
_LIMIT = 3.0
_SCATTER_ROWS = 1000


def learn(moments: Moments, model: SharedParameterModel) -> NoiseFit:
    """The default estimator: the shared-parameter fit, unless its chi^2 says that locations differ.

    Then the hybrid; or, where detectors are correlated as no mechanism of the circuit does it (see
    `noise_learning.estimators.unmodelled`), as on devices with leakage, the closed form shrunk to its mean
    over rounds.

    chi^2 takes the covariance of moments from the fitted model; nothing is counted beyond the moments. At few
    shots it cannot tell locations apart (see docs/results/noise_learning.md), and the shared-parameter fit
    stays.

    The last note says what was chosen and why.

    Raises:
        ValueError: the moments are of too few shots, or of other subsets.
    """
    data = LearningData.of(moments, model.structure)
    shared = fit_shared_parameters(data, model)
    scatter = chi2_scatter(shared)
    limit = 1 + _LIMIT * scatter
    chi2 = f"chi² per equation of the shared-parameter fit: {shared.chi2_per_row:.3g}, limit {limit:.3g}"
    if shared.chi2_per_row <= limit:
        why = f"noise locations that share a parameter have equal rates within sampling error ({chi2})"
        return replace(shared, notes=(*shared.notes, f"{why}: the shared-parameter fit was chosen"))
    differ = f"noise locations that share a parameter differ in their rates ({chi2})"
    test = UnmodelledTest.of(data, model.structure)
    size = f"their mean square is {test.mean_square:.3g} times that of sampling noise, limit {test.limit:.3g}"
    if test.found:
        free = fit_stationary(data, model.structure)
        why = (
            f"{differ}; detectors have correlations that the circuit's noise does not explain, as from "
            f"leakage or crosstalk ({size}): the closed form, averaged over rounds, was chosen"
        )
        return replace(free, assumed=shared.p, parameters=shared.parameters, notes=(*free.notes, why))
    hybrid = fit_hybrid(data, model, shared)
    why = (
        f"{differ}; correlations that the circuit's noise does not explain are not seen ({size}): a fit of "
        "every mechanism, shrunk to the shared-parameter fit, was chosen"
    )
    return replace(hybrid, notes=(*hybrid.notes, why))


def chi2_scatter(fit: NoiseFit) -> float:
    """Standard deviation of chi^2 per equation where the model holds.

    Equations are correlated, so it is sqrt(2 mean of squared correlations), from a sample of them.
    """
    structure = fit.structure
    count = len(structure.subsets)
    used = np.ones(count, dtype=bool) if fit.detectors is None else fit.detectors.used(structure.subsets)
    a = structure.membership @ attenuation(fit.p)
    used &= structure.parity @ a > 0  # an even subset of every mechanism has the moment 1
    rows = sample_rows(structure.subsets.sizes[:, None], np.flatnonzero(used), most=_SCATTER_ROWS)
    matrix = covariance(structure.parity[rows], a, shots=1.0)
    scale = np.sqrt(np.diagonal(matrix))
    squares = (matrix / np.outer(scale, scale)) ** 2
    count, sampled = int(used.sum()), len(rows)
    pairs = (squares.sum() - sampled) / max(sampled * (sampled - 1), 1)
    return float(np.sqrt(2 * (1 / count + pairs * (count - 1) / count)))
