"""The linear equations b = parity @ a that moments give, and their covariance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from noise_learning.estimators.detectors import DetectorStates
from noise_learning.moments.moments import Moments

# A moment within this many standard errors of 0 has no usable logarithm.
_SIGNIFICANT = 1.0


@dataclass(frozen=True, eq=False)
class Equations:
    """b_T = -ln |m_T| for the sets T whose moment is significant and has the sign that its detectors say.

    Attributes:
        b: float64 (subsets,), corrected for the bias of the logarithm; 0 where dropped.
        valid: bool (subsets,); not those with a detector of which nothing is learned.
        shots: effective number of shots.
    """

    b: np.ndarray
    valid: np.ndarray
    shots: float

    @classmethod
    def of(cls, moments: Moments, detectors: DetectorStates) -> Equations:
        """Raises:
        ValueError: no shots.
        """
        # The moments of shots in which the inverted detectors are turned: all mechanisms are below 1/2.
        m, shots = moments.means * detectors.signs(moments.subsets), moments.effective_shots
        valid = (m > _SIGNIFICANT / np.sqrt(shots)) & detectors.used(moments.subsets)
        safe = np.where(valid, m, 1.0)
        # E[-ln m^] = -ln m + Var(m^) / (2 m^2) + ..., with Var(m^) = (1 - m^2) / N.
        b = -np.log(safe) - (safe**-2 - 1) / (2 * shots)
        return cls(np.where(valid, b, 0.0), valid, shots)


def variances(parity: sp.csr_matrix, a: np.ndarray, *, shots: float) -> np.ndarray:
    """Var(b_T) = (1 / m_T^2 - 1) / N, with m_T as predicted by the attenuations `a`."""
    return np.expm1(2 * (parity @ a)) / shots


def covariance(parity: sp.csr_matrix, a: np.ndarray, *, shots: float) -> np.ndarray:
    """Cov(b_T, b_U) = (m_(T xor U) / (m_T m_U) - 1) / N, float64 (rows, rows), dense.

    Independent mechanisms of attenuation a have m_(T xor U) / (m_T m_U) = exp(2 c_TU), where c_TU sums
    those that flip the parity of both T and U: no moment beyond the m_T has to be counted.
    """
    half = (parity @ sp.diags_array(np.sqrt(a))).toarray().astype(np.float32)
    shared = (half @ half.T).astype(np.float64)
    return np.expm1(2 * shared) / shots


def sparse_covariance(parity: sp.csr_matrix, a: np.ndarray, *, shots: float) -> sp.csr_matrix:
    """As `covariance`, sparse: sets that no mechanism flips both are independent."""
    shared = (parity @ sp.diags_array(a) @ parity.T).tocsr()
    shared.data = np.expm1(2 * shared.data) / shots
    return shared
