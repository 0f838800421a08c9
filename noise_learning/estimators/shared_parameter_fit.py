"""The shared-parameter fit of a circuit: weighted non-negative least squares for few parameters."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import scipy.optimize

from noise_learning.estimators.attenuations import bounded_probability, clipped
from noise_learning.estimators.equations import Equations, covariance, variances
from noise_learning.estimators.fit import NoiseFit, SharedParameters, chi_squared
from noise_learning.estimators.learning_data import LearningData
from noise_learning.models.shared_parameters import SharedParameterModel
from noise_learning.models.structure import attenuation
from noise_learning.moments.moments import Moments

# Equations of the weighted fit: its dense covariance is 8 n^2 bytes and takes n^3 / 3 operations.
_MAX_ROWS = 1500
# Parameters are known beforehand to within this multiple of the (scaled) first guess.
_PRIOR_WIDTH = 3.0
_RANK_TOLERANCE = 1e-6


def fit_shared_parameters(moments: Moments | LearningData, model: SharedParameterModel) -> NoiseFit:
    """Weighted non-negative least squares for the parameters, weights from the moments' covariance.

    The covariance is the dense one of up to _MAX_ROWS equations; of more, as at d = 13, a sample that keeps
    all kinds of equations is fitted. A weak prior (within 3 times the guess, scaled to the data) settles what
    the moments leave open.

    Raises:
        ValueError: the moments are of too few shots, or of other subsets.
    """
    data = LearningData.of(moments, model.structure)
    model, equations = model.on(data.structure), data.equations
    structure, valid = model.structure, equations.valid
    guess = model.guess * _scale(model, equations)
    varies = variances(structure.parity, model.set_matrix @ guess, shots=data.shots) > 0
    rows = sample_rows(model.equations, np.flatnonzero(valid & varies))
    parity, of_theta, b = structure.parity[rows], model.equations[rows], equations.b[rows]
    # Rough weights first, from the diagonal at the guess; then the full covariance where that fit ended.
    spread = np.sqrt(variances(parity, model.set_matrix @ guess, shots=equations.shots))
    theta, _ = solve_parameters(of_theta / spread[:, None], b / spread, guess=guess)
    attenuations = clipped(model.set_matrix @ theta, towards=model.set_matrix @ guess, shots=data.shots)
    root = cholesky(covariance(parity, attenuations, shots=equations.shots))
    whitened = scipy.linalg.solve_triangular(root, np.column_stack([of_theta, b]), lower=True)
    theta, spread_theta = solve_parameters(whitened[:, :-1], whitened[:, -1], guess=guess)
    parameters = SharedParameters(model.names, theta, spread_theta, identifiable_combinations(of_theta))
    chi2, dof = chi_squared(structure, equations, model.set_matrix @ theta)
    split, sigma = _mechanisms(model, parameters, shots=data.shots)
    return NoiseFit.of(
        data,
        split,
        sigma,
        estimator="shared-parameters",
        chi2=chi2,
        dof=dof - parameters.rank,
        parameters=parameters,
    )


def predict_shared_parameters(parameters: SharedParameters, model: SharedParameterModel) -> NoiseFit:
    """The probabilities that parameters learned elsewhere (at another distance) imply for `model`.

    Raises:
        ValueError: the parameters have other names.
    """
    if parameters.names != model.names:
        raise ValueError(
            f"the {len(parameters.names)} parameters {', '.join(parameters.names[:3])}... are not the "
            f"{len(model.names)} of this model, {', '.join(model.names[:3])}...; learn with the same sharing"
        )
    known = parameters.combinations
    rows = model.set_matrix.toarray()
    outside = rows - rows @ np.linalg.pinv(known) @ known
    unknown = int(np.sum(np.linalg.norm(outside, axis=1) > 1e-6 * np.linalg.norm(rows, axis=1)))
    notes = (f"predicted from parameters learned elsewhere, rank {parameters.rank} of {len(model.names)}",)
    if unknown:
        notes += (f"{unknown} of {len(rows)} detector sets need combinations that were not identifiable",)
    split, sigma = _mechanisms(model, parameters, shots=0.0)
    return NoiseFit(
        structure=model.structure,
        estimator="shared-parameters",
        p=bounded_probability(split, shots=0.0),
        sigma=sigma,
        assumed=model.structure.given,
        chi2=0.0,
        dof=0,
        shots=0.0,
        notes=notes,
        parameters=parameters,
    )


def identifiable_combinations(equations: np.ndarray) -> np.ndarray:
    """Reduced row echelon form of what equations determine: float64 (rank, parameters)."""
    _, values, rows = np.linalg.svd(equations, full_matrices=False)
    rank = int(np.sum(values > _RANK_TOLERANCE * values.max(initial=0.0)))
    basis = rows[:rank].copy()
    for k in range(rank):
        free = np.abs(basis[k:]) > 1e-7
        column = int(np.flatnonzero(free.any(axis=0))[0])
        pivot = k + int(np.argmax(np.abs(basis[k:, column])))
        basis[[k, pivot]] = basis[[pivot, k]]
        basis[k] /= basis[k, column]
        others = np.arange(rank) != k
        basis[others] -= np.outer(basis[others, column], basis[k])
    basis[np.abs(basis) < 1e-9] = 0
    return basis


def _mechanisms(
    model: SharedParameterModel, parameters: SharedParameters, *, shots: float
) -> tuple[np.ndarray, np.ndarray]:
    """Attenuations of mechanisms and standard errors of their probabilities, float64 (mechanisms,) each."""
    structure, k = model.structure, model.matrix
    a = k @ parameters.theta
    scale = float(a.sum() / (k @ model.guess).sum())
    split = clipped(a, towards=max(scale, 1e-3) * attenuation(structure.prior), shots=shots)
    unseen = structure.set_of < 0
    split[unseen] = a[unseen].clip(min=1e-12)
    spread = np.sqrt(np.asarray((k @ parameters.covariance * k.toarray()).sum(axis=1)).ravel())
    return split, spread * np.exp(-split) / 2


def _scale(model: SharedParameterModel, equations: Equations) -> float:
    """How much noisier the shots are than the guess, from all valid equations together."""
    expected = (model.equations @ model.guess)[equations.valid].sum()
    if not expected:
        return 1.0
    return float(np.clip(equations.b[equations.valid].sum() / expected, 1e-3, 1e3))


def solve_parameters(
    equations: np.ndarray, b: np.ndarray, *, guess: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Non-negative theta and its covariance, from equations of unit variance and the weak prior."""
    prior = 1 / (_PRIOR_WIDTH * guess)
    theta, _ = scipy.optimize.nnls(np.vstack([equations, np.diag(prior)]), np.concatenate([b, prior * guess]))
    return theta, np.linalg.inv(equations.T @ equations + np.diag(prior**2))


def cholesky(matrix: np.ndarray) -> np.ndarray:
    """Lower root; a small multiple of the diagonal guards against rounding."""
    diagonal = np.diagonal(matrix).copy()
    floor = 1e-6 * diagonal + 1e-9 * diagonal.max(initial=1e-30)
    return scipy.linalg.cholesky(matrix + np.diag(floor), lower=True)


def sample_rows(equations: np.ndarray, rows: np.ndarray, *, most: int = _MAX_ROWS) -> np.ndarray:
    """At most `most` of `rows`, evenly from the kinds of equal equations, spread over each kind."""
    if len(rows) <= most:
        return rows
    shuffled = np.random.default_rng(0).permutation(rows)
    _, kind = np.unique(np.round(equations[shuffled], 6), axis=0, return_inverse=True)
    order = np.argsort(kind.ravel(), kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(kind.ravel()))])[:-1]
    place = np.empty(len(rows), dtype=np.int64)
    place[order] = np.arange(len(rows)) - starts[kind.ravel()[order]]
    return np.sort(shuffled[np.argsort(place, kind="stable")[:most]])
