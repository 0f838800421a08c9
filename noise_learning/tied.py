"""The tied circuit fit: few parameters for all mechanisms, a = K theta."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.sparse as sp
import stim

from noise_learning.equations import Equations, covariance, dropped_notes, variances
from noise_learning.fit import NoiseFit, TiedParameters, bounded_probability, clipped
from noise_learning.locations import NoiseLocations, Tie, by_role
from noise_learning.moments import Moments
from noise_learning.structure import Structure, strength
from qec import NOISE_PARAMETERS, CircuitNoise, depolarizing, memory_circuit
from qec.patch import Basis, Orientation

_PROBE = 1e-4  # rate at which one parameter is switched on; strengths are additive, so any will do
# Equations of the weighted fit: its dense covariance is 8 n^2 bytes and takes n^3 / 3 operations.
_MAX_ROWS = 3000
# Parameters are known beforehand to within this multiple of the (scaled) first guess.
_PRIOR_WIDTH = 3.0
_RANK_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class TiedModel:
    """Mechanism strengths as a linear function of few parameters.

    Attributes:
        structure: whose mechanisms.
        names: of the parameters.
        matrix: float64 (mechanisms, parameters), K of a = K theta, theta = -ln(1 - 2 q).
        guess: float64 (parameters,), theta of the circuit that the structure came from.
    """

    structure: Structure
    names: tuple[str, ...]
    matrix: sp.csr_matrix
    guess: np.ndarray

    @classmethod
    def of_memory(
        cls,
        *,
        distance: int,
        rounds: int,
        basis: Basis = "x",
        orientation: Orientation = "XV",
        perfect_last_round: bool = False,
        guess: CircuitNoise | None = None,
    ) -> TiedModel:
        """The 25 parameters of `qec.CircuitNoise` in `qec.memory_circuit`.

        Args:
            guess: where the fit starts, all 25 rates > 0; `depolarizing(0.005)` if not given.

        Raises:
            ValueError: as `qec.memory_circuit`, or a rate of `guess` is 0.
        """

        def circuit(noise: CircuitNoise) -> stim.Circuit:
            return memory_circuit(
                distance=distance,
                rounds=rounds,
                noise=noise,
                basis=basis,
                orientation=orientation,
                perfect_last_round=perfect_last_round,
            )

        noise = guess or depolarizing(0.005)
        rates = np.array([getattr(noise, name) for name in NOISE_PARAMETERS])
        if not rates.all():
            name = NOISE_PARAMETERS[int(np.flatnonzero(rates == 0)[0])]
            raise ValueError(
                f"guess has {name} = 0; give every parameter a rate > 0, its place is what counts"
            )
        probes = (circuit(CircuitNoise(**{name: _PROBE})) for name in NOISE_PARAMETERS)
        return cls._build(
            Structure.from_circuit(circuit(noise)), NOISE_PARAMETERS, probes, guess=strength(rates)
        )

    @classmethod
    def of_circuit(cls, circuit: stim.Circuit, *, tie: Tie = by_role) -> TiedModel:
        """One parameter per label of the circuit's noise locations.

        Locations of one label keep the ratios of their rates in the circuit: the parameter is their mean.

        Args:
            circuit: noisy; its rates are the first guess.
            tie: label of a location: `by_role` (the default), `by_place`, or any other.

        Raises:
            ValueError: no noise, noise other than Pauli channels, or no DEM.
        """
        locations = NoiseLocations(circuit, tie=tie)
        probes = (locations.only(name, rate=_PROBE) for name in locations.names)
        guess = strength(np.array(locations.rates))
        return cls._build(Structure.from_circuit(circuit), locations.names, probes, guess=guess)

    @classmethod
    def _build(
        cls,
        structure: Structure,
        names: tuple[str, ...],
        probes: Iterable[stim.Circuit],
        *,
        guess: np.ndarray,
    ) -> TiedModel:
        columns = [_column(structure, circuit, name) for name, circuit in zip(names, probes, strict=True)]
        return cls(structure, names, sp.csr_matrix(np.array(columns).T), guess)

    @cached_property
    def set_matrix(self) -> sp.csr_matrix:
        """float64 (detector sets, parameters): strengths of detector sets."""
        return (self.structure.membership @ self.matrix).tocsr()

    @cached_property
    def equations(self) -> np.ndarray:
        """float64 (subsets, parameters): b = equations @ theta."""
        return (self.structure.parity @ self.set_matrix).toarray()

    def predict(self, parameters: TiedParameters) -> NoiseFit:
        """The probabilities that parameters learned elsewhere (at another distance) imply here.

        Raises:
            ValueError: the parameters have other names.
        """
        if parameters.names != self.names:
            raise ValueError(
                f"the {len(parameters.names)} parameters {', '.join(parameters.names[:3])}... are not the "
                f"{len(self.names)} of this model, {', '.join(self.names[:3])}...; learn with the same tying"
            )
        known = parameters.combinations
        rows = self.set_matrix.toarray()
        outside = rows - rows @ np.linalg.pinv(known) @ known
        unknown = int(np.sum(np.linalg.norm(outside, axis=1) > 1e-6 * np.linalg.norm(rows, axis=1)))
        notes = (f"predicted from parameters learned elsewhere, rank {parameters.rank} of {len(self.names)}",)
        if unknown:
            notes += (f"{unknown} of {len(rows)} detector sets need combinations that were not identifiable",)
        return _tied_fit(self, parameters, shots=0.0, chi2=0.0, dof=0, dropped=(), notes=notes)


def fit_tied(moments: Moments, model: TiedModel) -> NoiseFit:
    """Weighted non-negative least squares for the parameters, weights from the moments' covariance.

    The covariance is the dense one of up to _MAX_ROWS equations; of more, as at d = 13, a sample that keeps
    all kinds of equations is fitted. A weak prior (within 3 times the guess, scaled to the data) settles what
    the moments leave open.

    Raises:
        ValueError: the moments are of no shots, or of other subsets.
    """
    equations = Equations.of(moments)
    structure, valid = model.structure, equations.valid
    guess = model.guess * _scale(model, equations)
    rows = _sample(model.equations, np.flatnonzero(valid))
    parity, of_theta, b = structure.parity[rows], model.equations[rows], equations.b[rows]
    # Rough weights first, from the diagonal at the guess; then the full covariance where that fit ended.
    spread = np.sqrt(variances(parity, model.set_matrix @ guess, shots=equations.shots))
    theta, _ = _solve(of_theta / spread[:, None], b / spread, guess=guess)
    strengths = clipped(model.set_matrix @ theta, towards=model.set_matrix @ guess)
    root = _cholesky(covariance(parity, strengths, shots=equations.shots))
    whitened = scipy.linalg.solve_triangular(root, np.column_stack([of_theta, b]), lower=True)
    theta, spread_theta = _solve(whitened[:, :-1], whitened[:, -1], guess=guess)
    parameters = TiedParameters(model.names, theta, spread_theta, identifiable_combinations(of_theta))
    chi2, dof = _chi2(model, equations, theta)
    return _tied_fit(
        model,
        parameters,
        shots=equations.shots,
        chi2=chi2,
        dof=dof - parameters.rank,
        dropped=tuple(structure.subsets.detectors(k) for k in np.flatnonzero(~valid)),
        notes=dropped_notes(structure, valid),
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


def _tied_fit(
    model: TiedModel,
    parameters: TiedParameters,
    *,
    shots: float,
    chi2: float,
    dof: int,
    dropped: tuple[tuple[int, ...], ...],
    notes: tuple[str, ...],
) -> NoiseFit:
    structure = model.structure
    scale = float((model.matrix @ parameters.theta).sum() / (model.matrix @ model.guess).sum())
    split = clipped(model.matrix @ parameters.theta, towards=max(scale, 1e-3) * strength(structure.prior))
    unseen = structure.set_of < 0
    split[unseen] = (model.matrix @ parameters.theta)[unseen].clip(min=1e-12)
    k = model.matrix
    spread = np.sqrt(np.asarray((k @ parameters.covariance * k.toarray()).sum(axis=1)).ravel())
    return NoiseFit(
        structure=structure,
        estimator="tied",
        p=bounded_probability(split),
        sigma=spread * np.exp(-split) / 2,
        assumed=structure.prior,
        chi2=chi2,
        dof=dof,
        shots=shots,
        dropped=dropped,
        notes=notes,
        parameters=parameters,
    )


def _column(structure: Structure, circuit: stim.Circuit, name: str) -> np.ndarray:
    """Strengths of all mechanisms, per unit of theta, with one parameter on: float64 (mechanisms,)."""
    dem = circuit.detector_error_model(approximate_disjoint_errors=True)
    wanted: dict[tuple[tuple[int, ...], tuple[int, ...]], float] = {}
    try:
        alone = Structure.from_dem(dem)
    except ValueError:  # a parameter that no detector sees
        return np.zeros(len(structure.mechanisms))
    for mechanism, p in zip(alone.mechanisms, alone.prior, strict=True):
        wanted[mechanism.detectors, mechanism.observables] = strength(p) / strength(np.array(_PROBE))
    column = np.zeros(len(structure.mechanisms))
    for symptoms, value in wanted.items():
        places = structure.by_symptoms.get(symptoms)
        if places is None:
            raise ValueError(
                f"{name} flips detectors {list(symptoms[0])} and observables {list(symptoms[1])}, which no "
                "mechanism of the structure does; build the structure from a circuit with all noise on"
            )
        share = strength(structure.prior[places])
        column[places] = value * share / share.sum()
    return column


def _scale(model: TiedModel, equations: Equations) -> float:
    """How much noisier the shots are than the guess, from all valid equations together."""
    expected = (model.equations @ model.guess)[equations.valid].sum()
    if not expected:
        return 1.0
    return float(np.clip(equations.b[equations.valid].sum() / expected, 1e-3, 1e3))


def _solve(equations: np.ndarray, b: np.ndarray, *, guess: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Non-negative theta and its covariance, from equations of unit variance and the weak prior."""
    prior = 1 / (_PRIOR_WIDTH * guess)
    theta, _ = scipy.optimize.nnls(np.vstack([equations, np.diag(prior)]), np.concatenate([b, prior * guess]))
    return theta, np.linalg.inv(equations.T @ equations + np.diag(prior**2))


def _chi2(model: TiedModel, equations: Equations, theta: np.ndarray) -> tuple[float, int]:
    """Sum of squared residuals over variances, and the number of equations that have any variance."""
    spread = variances(model.structure.parity, model.set_matrix @ theta, shots=equations.shots)
    rows = equations.valid & (spread > 0)
    residual = equations.b - model.equations @ theta
    return float(np.sum(residual[rows] ** 2 / spread[rows])), int(rows.sum())


def _cholesky(matrix: np.ndarray) -> np.ndarray:
    """Lower root; a small multiple of the diagonal guards against rounding."""
    diagonal = np.diagonal(matrix).copy()
    floor = 1e-6 * diagonal + 1e-9 * diagonal.max(initial=1e-30)
    return scipy.linalg.cholesky(matrix + np.diag(floor), lower=True)


def _sample(equations: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """At most _MAX_ROWS of `rows`, evenly from the kinds of equal equations, spread over each kind."""
    if len(rows) <= _MAX_ROWS:
        return rows
    shuffled = np.random.default_rng(0).permutation(rows)
    _, kind = np.unique(np.round(equations[shuffled], 6), axis=0, return_inverse=True)
    order = np.argsort(kind.ravel(), kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(kind.ravel()))])[:-1]
    place = np.empty(len(rows), dtype=np.int64)
    place[order] = np.arange(len(rows)) - starts[kind.ravel()[order]]
    return np.sort(shuffled[np.argsort(place, kind="stable")[:_MAX_ROWS]])
