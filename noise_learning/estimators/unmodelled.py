"""Whether detectors are correlated in ways that no mechanism explains.

A subset of a mechanism's detectors that is itself no mechanism's detector set has, in the closed form, a
attenuation of its own: 0 but for sampling, whatever the rates of the mechanisms. On devices with
crosstalk or leaking data qubits it is not. Not seen are correlations of detectors that no mechanism flips
together, such as those of one stabilizer in rounds that are not neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from noise_learning.estimators.equations import sparse_covariance
from noise_learning.estimators.learning_data import LearningData
from noise_learning.estimators.raw_attenuations import closed_form_matrix
from noise_learning.models.structure import Structure
from noise_learning.moments.moments import Moments

__all__ = ["UnmodelledTest"]

_MOST_SETS = 1000
# The test only chooses between two fits per mechanism, so it need not be strict.
_LIMIT = 2.0


@dataclass(frozen=True)
class UnmodelledTest:
    """Mean square of the attenuations of sets that are no mechanism's, in units of their sampling variance.

    Attributes:
        mean_square: about 1 where the mechanisms are all there is; less at few shots.
        scatter: its standard deviation there.
        sets: how many sets were tested; 0 where there are none.
    """

    mean_square: float
    scatter: float
    sets: int

    @classmethod
    def of(cls, moments: Moments | LearningData, structure: Structure) -> UnmodelledTest:
        """Raises:
        ValueError: the moments are of too few shots, or of other subsets.
        """
        data = LearningData.of(moments, structure)
        structure, raw = data.structure, data.raw
        known = set(structure.detector_sets)
        subsets = map(structure.subsets.detectors, range(len(structure.subsets)))
        others = [detectors for detectors in subsets if detectors not in known]
        others = others[:: max(-(-len(others) // _MOST_SETS), 1)]
        wider = replace(structure, detector_sets=(*structure.detector_sets, *others))
        # Only the rows of the added sets, which moments of the same subsets determine.
        matrix = closed_form_matrix(wider, subsets=structure.subsets)[len(known) :]
        dropped = abs(matrix) @ (~raw.equations.valid).astype(float)
        matrix = matrix[np.flatnonzero(dropped == 0)]
        used = np.unique(matrix.indices)  # the covariance of all moments is large at d = 13
        matrix, b = matrix[:, used], raw.equations.b[used]
        attenuations = np.maximum(raw.a, 0.0)
        moment_noise = sparse_covariance(structure.parity[used], attenuations, shots=raw.equations.shots)
        noise = (matrix @ moment_noise @ matrix.T).toarray()
        seen = np.flatnonzero(np.diagonal(noise) > 0)
        if not len(seen):
            return cls(1.0, 0.0, 0)
        sigma = np.sqrt(np.diagonal(noise)[seen])
        correlation = noise[np.ix_(seen, seen)] / np.outer(sigma, sigma)
        z = (matrix @ b)[seen] / sigma
        scatter = np.sqrt(2 * np.sum(correlation**2)) / len(seen)
        return cls(float(np.mean(z**2)), float(scatter), len(seen))

    @property
    def limit(self) -> float:
        """What `mean_square` may be."""
        return 1 + _LIMIT * self.scatter

    @property
    def found(self) -> bool:
        """Whether there are such correlations."""
        return self.mean_square > self.limit
