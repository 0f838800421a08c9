"""The gate: the tied fit where chi^2 allows it, a fit per mechanism, shrunk, where it does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from noise_learning.equations import covariance
from noise_learning.fit import NoiseFit
from noise_learning.hybrid import fit_hybrid
from noise_learning.moments import Moments
from noise_learning.stationary import fit_stationary
from noise_learning.structure import strength
from noise_learning.tied import fit_tied, sample_rows
from noise_learning.tied_model import TiedModel
from noise_learning.unmodelled import UnmodelledTest

# chi^2 per equation this many of its own standard deviations above 1: locations differ.
_GATE = 3.0
_GATE_ROWS = 1000


def learn(moments: Moments, model: TiedModel) -> NoiseFit:
    """The default estimator: tied, unless its chi^2 says that locations differ.

    Then the hybrid; or, where detectors are correlated as no mechanism of the circuit does it (see
    `noise_learning.unmodelled`), as on devices with leakage, the closed form shrunk to its mean over rounds.

    chi^2 takes the covariance of moments from the fitted model; nothing is counted beyond the moments. At few
    shots it cannot tell locations apart (see RESULTS.md), and the gate keeps the tied fit.

    The last note says what was chosen and why.

    Raises:
        ValueError: the moments are of no shots, or of other subsets.
    """
    tied = fit_tied(moments, model)
    scatter = chi2_scatter(tied)
    limit = 1 + _GATE * scatter
    verdict = f"chi^2 per equation of the tied fit is {tied.chi2_per_row:.3g}, "
    if tied.chi2_per_row <= limit:
        why = f"{verdict}within {limit:.3g}: locations of a kind look alike, tied fit chosen"
        return replace(tied, notes=(*tied.notes, why))
    verdict += f"above {limit:.3g}: locations differ"
    test = UnmodelledTest.of(moments, model.structure)
    strengths = f"sets of no mechanism have squared strengths {test.mean_square:.3g} times those of sampling"
    if test.found:
        free = fit_stationary(moments, model.structure)
        why = (
            f"{verdict}, and {strengths}, above {test.limit:.3g}: "
            "there are correlations of no mechanism, closed form chosen"
        )
        return replace(free, assumed=tied.p, parameters=tied.parameters, notes=(*free.notes, why))
    hybrid = fit_hybrid(moments, model, tied)
    why = f"{verdict}; {strengths}, within {test.limit:.3g}: fit per mechanism shrunk to the tied one chosen"
    return replace(hybrid, notes=(*hybrid.notes, why))


def chi2_scatter(fit: NoiseFit) -> float:
    """Standard deviation of chi^2 per equation where the model holds.

    Equations are correlated, so it is sqrt(2 mean of squared correlations), from a sample of them.
    """
    structure = fit.structure
    rows = sample_rows(structure.subsets.sizes[:, None], np.arange(len(structure.subsets)), most=_GATE_ROWS)
    a = structure.membership @ strength(fit.p)
    matrix = covariance(structure.parity[rows], a, shots=1.0)
    scale = np.sqrt(np.diagonal(matrix))
    squares = (matrix / np.outer(scale, scale)) ** 2
    count, sampled = len(structure.subsets), len(rows)
    pairs = (squares.sum() - sampled) / max(sampled * (sampled - 1), 1)
    return float(np.sqrt(2 * (1 / count + pairs * (count - 1) / count)))
