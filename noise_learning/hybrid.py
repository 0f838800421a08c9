"""Every mechanism on its own, but shrunk towards the tied fit as far as the data ask for.

Strengths are a = K theta + delta, the departures delta of relative size tau: delta_S ~ N(0, (tau a_S)^2).
Given tau this is linear, with b of covariance C + parity diag((tau a)^2) parity^T: theta by weighted least
squares, delta by its posterior mean. tau -> 0 is the tied fit, large tau weighted least squares of every
mechanism. tau is the one that predicts moments best that were held out, each one in turn, in closed form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg

from noise_learning.closed_form import closed_form_matrix, closed_form_variances
from noise_learning.equations import Equations, covariance, dropped_notes, variances
from noise_learning.fit import (
    NoiseFit,
    TiedParameters,
    bounded_probability,
    chi_squared,
    clipped,
    mechanism_sigma,
)
from noise_learning.moments import Moments
from noise_learning.tied import cholesky, sample_rows, solve_parameters
from noise_learning.tied_model import TiedModel

_TAUS = (0.05, 0.1, 0.2, 0.35, 0.6, 1.0, 2.0)
_DENSE_ROWS = 4000  # above, the moments' covariance is taken as diagonal
_TAU_ROWS = 1200  # tau is one number: a sample of equations settles it


@dataclass(frozen=True, eq=False)
class _Problem:
    """What does not depend on tau."""

    parity: sp.csr_matrix  # (rows, detector sets)
    of_theta: np.ndarray  # (rows, parameters)
    b: np.ndarray
    set_matrix: sp.csr_matrix  # (detector sets, parameters)
    centre: np.ndarray  # (detector sets,), strengths of the tied fit
    guess: np.ndarray
    noise: np.ndarray  # (rows, rows) or, where that is too large, its diagonal (rows,)

    @property
    def dense(self) -> bool:
        return self.noise.ndim == 2


def fit_hybrid(moments: Moments, model: TiedModel, tied: NoiseFit, *, tau: float | None = None) -> NoiseFit:
    """Per-mechanism fit shrunk towards `tied`.

    Args:
        tied: `fit_tied(moments, model)`.
        tau: relative size of the departures; by default the one that predicts held-out moments best.

    With more than 4,000 equations their covariance is taken as diagonal, and the notes say so.

    Raises:
        ValueError: `tied` has no parameters, tau is not positive, or the moments do not fit the model.
    """
    if tied.parameters is None:
        raise ValueError(f"the {tied.estimator} fit has no tied parameters; pass the result of fit_tied")
    if tau is not None and not (math.isfinite(tau) and tau > 0):
        raise ValueError(f"{tau=} must be positive and finite; near 0 is the tied fit")
    equations = Equations.of(moments)
    problem = _problem(model, tied.parameters, equations)
    notes = dropped_notes(model.structure, equations.valid)
    if tau is None:
        tau = _best_tau(problem) if problem.dense else _excess_tau(problem)
    notes += (f"departures from the tied fit of relative size {tau:.2g}",)
    if problem.dense:
        theta, a, spread = _dense_posterior(problem, tau)
    else:
        notes += (f"{len(problem.b)} equations: their covariance was taken as diagonal",)
        theta = tied.parameters.theta
        alone = closed_form_variances(
            model.structure, closed_form_matrix(model.structure), problem.centre, shots=equations.shots
        )
        a, spread = _diagonal_posterior(problem, alone, tau)
    a = clipped(a, towards=problem.centre)
    split = model.structure.split(a, by=np.maximum(model.matrix @ theta, 1e-12))
    chi2, rows = chi_squared(model.structure, equations, a)
    return NoiseFit(
        structure=model.structure,
        estimator="hybrid",
        p=bounded_probability(split),
        sigma=mechanism_sigma(model.structure, split, a, spread),
        assumed=tied.p,
        chi2=chi2,
        dof=rows,
        shots=equations.shots,
        dropped=tied.dropped,
        notes=notes,
        parameters=tied.parameters,
    )


def _problem(model: TiedModel, parameters: TiedParameters, equations: Equations) -> _Problem:
    rows = np.flatnonzero(equations.valid)
    guess_strength = model.set_matrix @ model.guess
    centre = model.set_matrix @ parameters.theta
    scale = centre.sum() / guess_strength.sum()
    centre = clipped(centre, towards=scale * guess_strength)
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
    )


def _total_covariance(problem: _Problem, tau: float, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
    """Covariance of b about the tied model: of the moments, and of the departures."""
    half = (problem.parity[rows] @ sp.diags_array(tau * problem.centre)).toarray().astype(np.float32)
    return problem.noise[rows][:, rows] + (half @ half.T).astype(np.float64)


def _best_tau(problem: _Problem) -> float:
    """Of _TAUS, what gives held-out moments the highest probability, each predicted from all others."""
    rows = sample_rows(problem.of_theta, np.arange(len(problem.b)), most=_TAU_ROWS)
    scores = {tau: _held_out_score(problem, tau, rows) for tau in _TAUS}
    return max(scores, key=scores.__getitem__)


def _held_out_score(problem: _Problem, tau: float, rows: np.ndarray) -> float:
    """Sum of log-probabilities of every moment given the others (Rasmussen, Williams 2006, eq. 5.10-5.12)."""
    root = cholesky(_total_covariance(problem, tau, rows))
    columns = np.column_stack([problem.of_theta[rows], problem.b[rows]])
    whitened = scipy.linalg.solve_triangular(root, columns, lower=True)
    theta, _ = solve_parameters(whitened[:, :-1], whitened[:, -1], guess=problem.guess)
    inverse = scipy.linalg.cho_solve((root, True), np.eye(len(rows)))
    precision = np.diagonal(inverse)
    error = inverse @ (problem.b[rows] - problem.of_theta[rows] @ theta) / precision
    return float(np.sum(np.log(precision) - error**2 * precision) / 2)


def _excess_tau(problem: _Problem) -> float:
    """tau from the excess of the tied fit's chi^2, which needs no covariance."""
    residual = problem.b - problem.parity @ problem.centre
    excess = np.mean(residual**2 / problem.noise) - 1
    unit = np.mean((problem.parity @ problem.centre**2) / problem.noise)
    return float(np.sqrt(np.clip(excess / unit, _TAUS[0] ** 2, _TAUS[-1] ** 2)))


def _dense_posterior(problem: _Problem, tau: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """theta, strengths of detector sets, and their standard errors."""
    root = cholesky(_total_covariance(problem, tau))
    columns = np.column_stack([problem.of_theta, problem.b])
    whitened = scipy.linalg.solve_triangular(root, columns, lower=True)
    theta, spread_theta = solve_parameters(whitened[:, :-1], whitened[:, -1], guess=problem.guess)
    departures = (tau * problem.centre) ** 2
    gain = scipy.linalg.solve_triangular(
        root.astype(np.float32), problem.parity.toarray().astype(np.float32), lower=True
    )
    residual = (whitened[:, -1] - whitened[:, :-1] @ theta).astype(np.float32)
    a = problem.set_matrix @ theta + departures * (gain.T @ residual)
    # Of theta itself, and of the departures given theta.
    slope = problem.set_matrix.toarray() - departures[:, None] * (
        gain.T @ whitened[:, :-1].astype(np.float32)
    )
    of_theta = np.einsum("ij,jk,ik->i", slope, spread_theta, slope, optimize=True)
    left = departures * np.clip(1 - departures * np.sum(gain**2, axis=0, dtype=np.float64), 0, 1)
    return theta, a, np.sqrt(of_theta + left)


def _diagonal_posterior(problem: _Problem, variance: np.ndarray, tau: float) -> tuple[np.ndarray, np.ndarray]:
    """Strengths of detector sets at the tied theta, and their standard errors.

    Args:
        variance: float64 (detector sets,), of the closed form: what the moments alone say.
    """
    departures = (tau * problem.centre) ** 2
    weighted = problem.parity.T.multiply(1 / problem.noise).tocsr()
    residual = problem.b - problem.parity @ problem.centre
    # In units of each departure's size the system is well conditioned.
    size = np.sqrt(departures)

    def apply(x: np.ndarray) -> np.ndarray:
        return x + size * (weighted @ (problem.parity @ (size * x)))

    system = scipy.sparse.linalg.LinearOperator((len(size), len(size)), matvec=apply, dtype=np.float64)
    diagonal = 1 + departures * (weighted.multiply(problem.parity.T).sum(axis=1))
    jacobi = scipy.sparse.linalg.LinearOperator(system.shape, matvec=lambda x: x / diagonal, dtype=np.float64)
    x, unfinished = scipy.sparse.linalg.cg(
        system, size * (weighted @ residual), rtol=1e-4, maxiter=500, M=jacobi
    )
    if unfinished:
        raise ValueError(
            f"the shrunk fit did not converge in {unfinished} steps at {tau=:g}; use a smaller one"
        )
    return problem.centre + size * x, 1 / np.sqrt(1 / departures + 1 / variance)
