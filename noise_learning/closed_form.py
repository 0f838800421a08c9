"""Mechanism probabilities in closed form, top down: no noise model, no iteration.

For a mechanism with detector set S, a_S = f_S - sum over S' strictly containing S of a_S', with
f_S = 2^(1-|S|) sum over nonempty T in S of (-1)^(|T|+1) b_T. For pairs this is the p_ij formula
(Spitz et al. 2018, arXiv:1712.02360; Google Quantum AI 2021, arXiv:2102.06132), for single detectors the
boundary formula.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import scipy.sparse as sp

from noise_learning.equations import Equations, dropped_notes, sparse_covariance, variances
from noise_learning.fit import NoiseFit, bounded_probability, clipped, prior_scale
from noise_learning.moments import Moments
from noise_learning.structure import Structure, probability


def closed_form_matrix(structure: Structure) -> sp.csr_matrix:
    """float64 (detector sets, subsets): a = matrix @ b."""
    transform = _transform(structure)
    strict = _strict_supersets(structure)
    # (1 + strict) a = transform b; strict is nilpotent, so the inverse is a short alternating series.
    result, term = transform, transform
    while True:
        term = -(strict @ term)
        term.eliminate_zeros()
        if not term.nnz:
            return result.tocsr()
        result = result + term


def fit_closed_form(moments: Moments, structure: Structure) -> NoiseFit:
    """Every mechanism on its own, from the moments of its detectors' subsets.

    A mechanism that needs a dropped equation keeps the prior, scaled to the others; estimates below a
    tenth of the scaled prior are raised to it.

    Raises:
        ValueError: the moments are of no shots, or of other subsets.
    """
    equations = Equations.of(moments)
    matrix = closed_form_matrix(structure)
    raw = matrix @ equations.b
    known = np.asarray(abs(matrix) @ (~equations.valid).astype(float)) == 0
    scale = prior_scale(structure, np.where(known, raw, 0.0), where=known)
    prior = scale * structure.prior_strength
    a = clipped(np.where(known, raw, prior), towards=prior)
    spread = np.sqrt(closed_form_variances(structure, matrix, a, shots=equations.shots))
    spread = np.where(known, spread, prior)
    split = structure.split(a)
    residual = equations.b - structure.parity @ a
    rows = equations.valid
    chi2 = float(np.sum(residual[rows] ** 2 / variances(structure.parity, a, shots=equations.shots)[rows]))
    notes = dropped_notes(structure, rows)
    if not known.all():
        notes += (f"{np.count_nonzero(~known)} detector sets keep the prior, scaled by {scale:.3g}",)
    return NoiseFit(
        structure=structure,
        estimator="closed-form",
        p=bounded_probability(split),
        sigma=mechanism_sigma(structure, split, a, spread),
        assumed=structure.prior,
        chi2=chi2,
        dof=int(rows.sum()) - len(a),
        shots=equations.shots,
        dropped=tuple(structure.subsets.detectors(k) for k in np.flatnonzero(~rows)),
        notes=notes,
    )


def closed_form_variances(
    structure: Structure, matrix: sp.csr_matrix, a: np.ndarray, *, shots: float
) -> np.ndarray:
    """Var(a_S), float64 (detector sets,): the moments' covariance carried through `matrix`."""
    noise = matrix @ sparse_covariance(structure.parity, a, shots=shots)
    return np.asarray(noise.multiply(matrix).sum(axis=1)).ravel()


def mechanism_sigma(
    structure: Structure, split: np.ndarray, a: np.ndarray, set_sigma: np.ndarray
) -> np.ndarray:
    """Standard errors of probabilities, float64 (mechanisms,), from those of the sets' strengths.

    A mechanism without detectors cannot be learned: its error is its probability.
    """
    seen = structure.set_of >= 0
    sigma = probability(split)
    share = split[seen] / a[structure.set_of[seen]]
    sigma[seen] = share * set_sigma[structure.set_of[seen]] * np.exp(-split[seen]) / 2
    return sigma


def _transform(structure: Structure) -> sp.csr_matrix:
    """f = transform @ b."""
    rows: list[int] = []
    columns: list[int] = []
    values: list[float] = []
    index = structure.subsets.index
    for k, detectors in enumerate(structure.detector_sets):
        scale = 2.0 ** (1 - len(detectors))
        for size in range(1, len(detectors) + 1):
            inside = [index[subset] for subset in combinations(detectors, size)]
            rows += [k] * len(inside)
            columns += inside
            values += [scale if size % 2 else -scale] * len(inside)
    shape = (len(structure.detector_sets), len(structure.subsets))
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
