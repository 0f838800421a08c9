"""The linear equations b = parity @ a that moments give, and their covariance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from noise_learning.models.structure import Structure
from noise_learning.moments.moments import Moments
from noise_learning.moments.subsets import Subsets

# A detector looks broken where it never fires though a tenth of the usual rate would have given so many
# events, or where it always fires in so many shots.
_USUAL_EVENTS = 20.0
_USUAL_SHARE = 0.1
# A moment within this many standard errors of 0 has no usable logarithm.
_SIGNIFICANT = 1.0


@dataclass(frozen=True, eq=False)
class Equations:
    """b_T = -ln m_T for the sets T whose moment is significantly positive.

    Attributes:
        b: float64 (subsets,), corrected for the bias of the logarithm; 0 where dropped.
        valid: bool (subsets,); not those with a detector that looks broken.
        shots: effective number of shots.
        odd: float64 (subsets,), the share of shots in which an odd number of T fired.
    """

    b: np.ndarray
    valid: np.ndarray
    shots: float
    odd: np.ndarray

    @classmethod
    def of(cls, moments: Moments) -> Equations:
        """Raises:
        ValueError: no shots.
        """
        m, shots = moments.means, moments.effective_shots
        odd = moments.odd / moments.weight
        broken = moments.subsets.incidence[looks_broken(moments.subsets, odd, shots)]
        valid = m > _SIGNIFICANT / np.sqrt(shots)
        valid &= np.asarray((moments.subsets.incidence @ broken.sum(axis=0).T) == 0).ravel()
        safe = np.where(valid, m, 1.0)
        # E[-ln m^] = -ln m + Var(m^) / (2 m^2) + ..., with Var(m^) = (1 - m^2) / N.
        b = -np.log(safe) - (safe**-2 - 1) / (2 * shots)
        return cls(np.where(valid, b, 0.0), valid, shots, odd)


def looks_broken(subsets: Subsets, odd: np.ndarray, shots: float) -> np.ndarray:
    """Rows of single detectors that always fire, or never where others do: int64.

    Args:
        odd: float64 (subsets,), the share of shots in which an odd number fired.
        shots: effective number.
    """
    rows = np.flatnonzero(subsets.sizes == 1)
    rate = odd[rows]
    firing = rate[rate > 0]
    usual = shots * _USUAL_SHARE * float(np.median(firing)) if len(firing) else 0.0
    never = (rate == 0) & (usual > _USUAL_EVENTS)
    return rows[never | ((rate == 1) & (shots > _USUAL_EVENTS))]


def equation_notes(structure: Structure, equations: Equations) -> tuple[str, ...]:
    """What to tell of the data: detectors that look broken, and the equations that were dropped."""
    return (*_broken_notes(structure, equations), *_dropped_notes(structure, equations.valid))


def _broken_notes(structure: Structure, equations: Equations) -> tuple[str, ...]:
    """One note per detector that fires always, or never though others of the same shots do.

    A detector that no mechanism flips has no moment and is not looked at.
    """
    firing = equations.odd[(structure.subsets.sizes == 1) & (equations.odd > 0)]
    expected = equations.shots * float(np.median(firing)) if len(firing) else 0.0
    stuck = {1.0: "always fires", 0.0: "never fires"}
    notes = []
    for row in looks_broken(structure.subsets, equations.odd, equations.shots):
        (detector,) = structure.subsets.detectors(int(row))
        at = ", ".join(f"{x:g}" for x in structure.coordinates[detector])
        where = f" at ({at})" if at else ""
        usual = "" if equations.odd[row] else f"; {expected:,.0f} events would be usual"
        does = f"{stuck[float(equations.odd[row])]} in {equations.shots:,.0f} shots"
        notes.append(f"D{detector}{where} {does} and looks broken{usual}: its mechanisms are not learned")
    return tuple(notes)


def _dropped_notes(structure: Structure, valid: np.ndarray) -> tuple[str, ...]:
    """How many equations were dropped, and the first few."""
    rows = np.flatnonzero(~valid)
    if not len(rows):
        return ()
    some = ", ".join("D" + "*D".join(map(str, structure.subsets.detectors(k))) for k in rows[:5])
    more = ", ..." if len(rows) > 5 else ""
    return (f"{len(rows)} of {len(valid)} equations dropped, moment not above its error: {some}{more}",)


def dropped_sets(structure: Structure, valid: np.ndarray) -> tuple[tuple[int, ...], ...]:
    """The sets of detectors whose equations were dropped."""
    return tuple(structure.subsets.detectors(int(k)) for k in np.flatnonzero(~valid))


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
