"""Attenuations of detector sets in closed form, top down: no noise model, no iteration.

For a mechanism with detector set S, a_S = f_S - sum over S' strictly containing S of a_S', with
f_S = 2^(1-|S|) sum over nonempty T in S of (-1)^(|T|+1) b_T. For pairs this is the p_ij formula
(Spitz et al. 2018, arXiv:1712.02360; Google Quantum AI 2021, arXiv:2102.06132), for single detectors the
boundary formula.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import scipy.sparse as sp

from noise_learning.estimators.attenuations import prior_scale
from noise_learning.estimators.equations import Equations, sparse_covariance
from noise_learning.models.structure import Structure
from noise_learning.moments.subsets import Subsets

_BLOCK = 1000  # detector sets at a time: bounds the memory of the covariance


def closed_form_matrix(structure: Structure, *, subsets: Subsets | None = None) -> sp.csr_matrix:
    """float64 (detector sets, subsets): a = matrix @ b, `structure.subsets` if no other ones are given."""
    transform = _transform(structure, subsets or structure.subsets)
    strict = _strict_supersets(structure)
    # (1 + strict) a = transform b; strict is nilpotent, so the inverse is a short alternating series.
    result, term = transform, transform
    while True:
        term = -(strict @ term)
        term.eliminate_zeros()
        if not term.nnz:
            return result.tocsr()
        result = result + term


@dataclass(frozen=True, eq=False)
class RawAttenuations:
    """Closed-form attenuations as they come, of detector sets; some below 0.

    Attributes:
        equations: what they come from.
        matrix: float64 (detector sets, subsets), as `closed_form_matrix`.
        a: float64 (detector sets,); the scaled prior where not `known`.
        known: bool (detector sets,), none of the equations was dropped.
        prior: float64 (detector sets,), the prior's attenuations times `scale`.
        scale: makes the prior add up to the known attenuations.
    """

    equations: Equations
    matrix: sp.csr_matrix
    a: np.ndarray
    known: np.ndarray
    prior: np.ndarray
    scale: float

    @classmethod
    def of(cls, equations: Equations, structure: Structure) -> RawAttenuations:
        """Solve the equations of `structure.subsets`."""
        matrix = closed_form_matrix(structure)
        raw = matrix @ equations.b
        known = np.asarray(abs(matrix) @ (~equations.valid).astype(float)) == 0
        scale = prior_scale(structure, np.where(known, raw, 0.0), where=known)
        prior = scale * structure.prior_attenuation
        return cls(equations, matrix, np.where(known, raw, prior), known, prior, scale)


def closed_form_variances(
    structure: Structure, matrix: sp.csr_matrix, a: np.ndarray, *, shots: float
) -> np.ndarray:
    """Var(a_S), float64 (detector sets,): the moments' covariance carried through `matrix`."""
    result = np.empty(matrix.shape[0])
    # Neighbours in space and time share moments, so a block needs the covariance of few of them.
    order = np.argsort([detectors[0] for detectors in structure.detector_sets], kind="stable")
    for start in range(0, len(order), _BLOCK):
        block = order[start : start + _BLOCK]
        rows = matrix[block]
        used = np.unique(rows.indices)
        rows = rows[:, used]
        noise = rows @ sparse_covariance(structure.parity[used], a, shots=shots)
        result[block] = np.asarray(noise.multiply(rows).sum(axis=1)).ravel()
    return result


def _transform(structure: Structure, subsets: Subsets) -> sp.csr_matrix:
    """f = transform @ b."""
    rows: list[int] = []
    columns: list[int] = []
    values: list[float] = []
    index = subsets.index
    for k, detectors in enumerate(structure.detector_sets):
        scale = 2.0 ** (1 - len(detectors))
        for size in range(1, len(detectors) + 1):
            inside = [index[subset] for subset in combinations(detectors, size)]
            rows += [k] * len(inside)
            columns += inside
            values += [scale if size % 2 else -scale] * len(inside)
    shape = (len(structure.detector_sets), len(subsets))
    return sp.csr_matrix((values, (rows, columns)), shape=shape)


def _strict_supersets(structure: Structure) -> sp.csr_matrix:
    """float64 0/1 (detector sets, detector sets): 1 where the column's set strictly contains the row's."""
    index = {detectors: k for k, detectors in enumerate(structure.detector_sets)}
    pairs = [
        (index[subset], k)
        for k, detectors in enumerate(structure.detector_sets)
        for size in range(1, len(detectors))
        for subset in combinations(detectors, size)
        if subset in index
    ]
    rows, columns = zip(*pairs, strict=True) if pairs else ((), ())
    shape = (len(index), len(index))
    return sp.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)
