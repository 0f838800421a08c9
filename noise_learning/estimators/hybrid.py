"""Every mechanism on its own, but shrunk towards the shared-parameter fit as far as the data ask for.

Attenuations are a = K theta + delta, with deviations delta = F z (see `deviations`), z standard normal.
Given F this is linear, with b of covariance C + (parity F) (parity F)^T: theta by weighted least squares,
delta by its posterior mean. tau, the size of the deviations, -> 0 is the shared-parameter fit, large tau
weighted least squares of every mechanism. Devices also have correlations that no mechanism of the circuit
has (leakage, crosstalk): every other subset of a mechanism's detectors may have an attenuation of its own,
which would otherwise be blamed on the mechanisms. The sizes are those that predict moments best that were
held out, each one in turn, in closed form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg

from noise_learning.estimators.attenuations import clipped
from noise_learning.estimators.deviations import Deviations
from noise_learning.estimators.equations import Equations, covariance, variances
from noise_learning.estimators.fit import NoiseFit, SharedParameters, chi_squared, mechanism_sigma
from noise_learning.estimators.learning_data import LearningData
from noise_learning.estimators.raw_attenuations import closed_form_matrix, closed_form_variances
from noise_learning.estimators.shared_parameter_fit import cholesky, sample_rows, solve_parameters
from noise_learning.models.shared_parameters import SharedParameterModel
from noise_learning.moments.moments import Moments

_TAUS = (0.1, 0.2, 0.35, 0.6, 1.0, 2.0)
_INVARIANT = (0.0, 0.5, 0.9, 0.99)  # share of the deviations' variance that is the same in all rounds
_DENSE_ROWS = 4000  # above, the moments' covariance is taken as diagonal
_TAU_ROWS = 1200  # tau is one number: a sample of equations settles it


_UNMODELLED = (0.0, 0.1, 0.3, 1.0)


@dataclass(frozen=True)
class Shrinkage:
    """How far a device may be from the shared-parameter model.

    Attributes:
        tau: relative size of a location's deviation.
        invariant: share of it that is the same in all rounds.
        unmodelled: size of correlations that no mechanism has, in units of the median mechanism.

    Raises:
        ValueError: tau not positive and finite, invariant outside [0, 1], or unmodelled negative.
    """

    tau: float
    invariant: float
    unmodelled: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.tau) and self.tau > 0):
            raise ValueError(
                f"tau={self.tau!r} must be positive and finite; near 0 is the shared-parameter fit"
            )
        if not 0 <= self.invariant <= 1:
            raise ValueError(f"invariant={self.invariant!r} is not a share in [0, 1]")
        if not (math.isfinite(self.unmodelled) and self.unmodelled >= 0):
            raise ValueError(f"unmodelled={self.unmodelled!r} must be finite and >= 0")


@dataclass(frozen=True, eq=False)
class _Problem:
    """What does not depend on the shrinkage."""

    parity: sp.csr_matrix  # (rows, detector sets)
    of_theta: np.ndarray  # (rows, parameters)
    b: np.ndarray
    set_matrix: sp.csr_matrix  # (detector sets, parameters)
    centre: np.ndarray  # (detector sets,), attenuations of the shared-parameter fit
    guess: np.ndarray
    noise: np.ndarray  # (rows, rows) or, where that is too large, its diagonal (rows,)
    deviations: Deviations
    others: sp.csr_matrix  # (rows, other subsets), parity, times the median attenuation

    @property
    def dense(self) -> bool:
        return self.noise.ndim == 2


def fit_hybrid(
    moments: Moments | LearningData,
    model: SharedParameterModel,
    shared: NoiseFit,
    *,
    shrinkage: Shrinkage | None = None,
) -> NoiseFit:
    """Per-mechanism fit shrunk towards `shared`.

    Args:
        shared: `fit_shared_parameters(moments, model)`.
        shrinkage: by default the one that predicts held-out moments best.

    With more than 4,000 equations their covariance is taken as diagonal, and the notes say so.

    Raises:
        ValueError: `shared` has no parameters, or the moments do not fit the model.
    """
    parameters = _parameters(shared)
    data = LearningData.of(moments, model.structure)
    model, equations = model.on(data.structure), data.equations
    problem = _problem(model, parameters, equations)
    if shrinkage is None:
        shrinkage = _choice(problem)
    notes: tuple[str, ...] = (
        f"rates of noise locations scatter about the shared-parameter fit by a factor of about "
        f"exp(±{shrinkage.tau:.2g}), {shrinkage.invariant:.0%} of that the same in all rounds; correlations "
        f"that the circuit's noise does not explain: {shrinkage.unmodelled:g} times the median mechanism",
    )
    if problem.dense:
        theta, a, spread = _dense_posterior(problem, shrinkage)
    else:
        notes += (f"{len(problem.b)} equations: their covariance was taken as diagonal",)
        theta = parameters.theta
        alone = closed_form_variances(
            model.structure, closed_form_matrix(model.structure), problem.centre, shots=equations.shots
        )
        a, spread = _diagonal_posterior(problem, alone, shrinkage)
    a = clipped(a, towards=problem.centre, shots=data.shots)
    split = model.structure.split(a, by=np.maximum(model.matrix @ theta, 1e-12))
    chi2, rows = chi_squared(model.structure, equations, a)
    return NoiseFit.of(
        data,
        split,
        mechanism_sigma(model.structure, split, a, spread),
        estimator="hybrid",
        chi2=chi2,
        dof=rows,
        assumed=shared.p,
        notes=notes,
        parameters=parameters,
    )


def _parameters(shared: NoiseFit) -> SharedParameters:
    if shared.parameters is None:
        raise ValueError(
            f"the {shared.estimator} fit has no shared parameters; pass the result of fit_shared_parameters"
        )
    return shared.parameters


def _choice(problem: _Problem) -> Shrinkage:
    return _held_out_choice(problem) if problem.dense else _excess_choice(problem)


def _problem(model: SharedParameterModel, parameters: SharedParameters, equations: Equations) -> _Problem:
    rows = np.flatnonzero(equations.valid)
    guess_attenuation = model.set_matrix @ model.guess
    centre = model.set_matrix @ parameters.theta
    scale = centre.sum() / guess_attenuation.sum()
    centre = clipped(centre, towards=scale * guess_attenuation, shots=equations.shots)
    parity = model.structure.parity[rows]
    of = covariance if len(rows) <= _DENSE_ROWS else variances
    return _Problem(
        parity=parity,
        of_theta=model.equations[rows],
        b=equations.b[rows],
        set_matrix=model.set_matrix,
        centre=centre,
        guess=max(scale, 1e-3) * model.guess,
        noise=of(parity, centre, shots=equations.shots),
        deviations=Deviations.of(model, centre),
        others=model.structure.other_parity[rows] * float(np.median(centre)),
    )


def _grams(problem: _Problem, rows: np.ndarray | slice = slice(None)) -> tuple[np.ndarray, ...]:
    """Covariance of b by deviations of size 1: of whole classes, of single sets, and of other subsets."""
    halves = (
        problem.parity[rows] @ problem.deviations.together,
        problem.parity[rows] @ sp.diags_array(problem.deviations.alone),
        problem.others[rows],
    )
    dense = (half.toarray().astype(np.float32) for half in halves)
    return tuple((half @ half.T).astype(np.float64) for half in dense)


def _deviation_covariance(grams: tuple[np.ndarray, ...], choice: Shrinkage) -> np.ndarray:
    together, alone, others = grams
    deviations = choice.tau**2 * (choice.invariant * together + (1 - choice.invariant) * alone)
    return deviations + choice.unmodelled**2 * others


def _held_out_choice(problem: _Problem) -> Shrinkage:
    """What gives held-out moments the highest probability, each predicted from all others.

    One of the three numbers after the other, twice.
    """
    rows = sample_rows(problem.of_theta, np.arange(len(problem.b)), most=_TAU_ROWS)
    noise, grams = problem.noise[rows][:, rows], _grams(problem, rows)

    @cache
    def score(choice: Shrinkage) -> float:
        return _held_out_score(problem, rows, noise + _deviation_covariance(grams, choice))

    best = Shrinkage(_TAUS[2], _INVARIANT[1])
    for _ in range(2):
        best = max((replace(best, tau=tau) for tau in _TAUS), key=score)
        best = max((replace(best, invariant=share) for share in _INVARIANT), key=score)
        best = max((replace(best, unmodelled=size) for size in _UNMODELLED), key=score)
    return best


def _held_out_score(problem: _Problem, rows: np.ndarray, total: np.ndarray) -> float:
    """Log-probability of every moment given the others, summed (Rasmussen, Williams 2006, section 5.4.2)."""
    root = cholesky(total)
    columns = np.column_stack([problem.of_theta[rows], problem.b[rows]])
    whitened = scipy.linalg.solve_triangular(root, columns, lower=True)
    theta, _ = solve_parameters(whitened[:, :-1], whitened[:, -1], guess=problem.guess)
    half_inverse = scipy.linalg.solve_triangular(root, np.eye(len(rows)), lower=True)
    precision = np.sum(half_inverse**2, axis=0)
    error = half_inverse.T @ (whitened[:, -1] - whitened[:, :-1] @ theta) / precision
    return float(np.sum(np.log(precision) - error**2 * precision) / 2)


def _excess_choice(problem: _Problem) -> Shrinkage:
    """tau from the excess of the shared-parameter fit's chi^2, which needs no covariance."""
    spread = problem.noise
    residual = problem.b - problem.parity @ problem.centre
    excess = np.mean((residual**2 / spread)[spread > 0]) - 1
    unit = np.mean(((problem.parity @ problem.deviations.alone**2) / spread)[spread > 0])
    return Shrinkage(float(np.sqrt(np.clip(excess / unit, _TAUS[0] ** 2, _TAUS[-1] ** 2))), _INVARIANT[1])


def _dense_posterior(problem: _Problem, shrinkage: Shrinkage) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """theta, attenuations of detector sets, and their standard errors."""
    root = cholesky(problem.noise + _deviation_covariance(_grams(problem), shrinkage))
    columns = np.column_stack([problem.of_theta, problem.b])
    whitened = scipy.linalg.solve_triangular(root, columns, lower=True)
    theta, spread_theta = solve_parameters(whitened[:, :-1], whitened[:, -1], guess=problem.guess)
    factor = problem.deviations.factor(tau=shrinkage.tau, invariant=shrinkage.invariant)
    prior = factor @ factor.T  # covariance of the deviations before the moments
    gain = scipy.linalg.solve_triangular(
        root.astype(np.float32), (problem.parity @ prior).toarray().astype(np.float32), lower=True
    )
    residual = (whitened[:, -1] - whitened[:, :-1] @ theta).astype(np.float32)
    a = problem.set_matrix @ theta + gain.T @ residual
    # Errors of the deviations given theta, and of theta itself.
    before = prior.diagonal()
    left = np.clip(before - np.sum(gain**2, axis=0, dtype=np.float64), 0, before)
    slope = problem.set_matrix.toarray() - gain.T @ whitened[:, :-1].astype(np.float32)
    of_theta = np.einsum("ij,jk,ik->i", slope, spread_theta, slope, optimize=True)
    return theta, a, np.sqrt(of_theta + left)


def _diagonal_posterior(
    problem: _Problem, variance: np.ndarray, shrinkage: Shrinkage
) -> tuple[np.ndarray, np.ndarray]:
    """Attenuations of detector sets at the theta of the shared-parameter fit, and their standard errors.

    Args:
        variance: float64 (detector sets,), of the closed form: what the moments alone say.
    """
    factor = problem.deviations.factor(tau=shrinkage.tau, invariant=shrinkage.invariant)
    weight = 1 / np.maximum(problem.noise, 1e-3 * np.median(problem.noise))
    residual = problem.b - problem.parity @ problem.centre

    def apply(z: np.ndarray) -> np.ndarray:
        return z + factor.T @ (problem.parity.T @ (weight * (problem.parity @ (factor @ z))))

    count = factor.shape[1]
    system = scipy.sparse.linalg.LinearOperator((count, count), matvec=apply, dtype=np.float64)
    z, unfinished = scipy.sparse.linalg.cg(
        system, factor.T @ (problem.parity.T @ (weight * residual)), rtol=1e-3, maxiter=1000
    )
    if unfinished:
        raise ValueError(f"the shrunk fit did not converge in {unfinished} steps; pass a smaller tau")
    before = shrinkage.tau**2 * problem.deviations.alone**2
    return problem.centre + factor @ z, 1 / np.sqrt(1 / before + 1 / np.maximum(variance, 1e-30))
