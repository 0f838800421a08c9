"""What an estimator says: a probability with an error bar for each mechanism, and the DEM of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import stim

from noise_learning.estimators.equations import Equations, dropped_sets, equation_notes, variances
from noise_learning.models.structure import Structure, attenuation, probability

EstimatorName = Literal["closed-form", "shared-parameters", "hybrid"]

# Matching weights need p < 1/2; above this a mechanism is as good as a coin.
MAX_PROBABILITY = 0.49
# Not below this fraction of the (scaled) prior: an estimate of 0 or less means "small", not "never".
_SHRUNK = 0.1


@dataclass(frozen=True, eq=False)
class SharedParameters:
    """Parameters of a shared-parameter fit, not identifiable one by one.

    Attributes:
        names: of the parameters.
        theta: float64 (parameters,), theta = -ln(1 - 2 q), one of the many solutions that fit equally well.
        covariance: float64 (parameters, parameters), of that solution.
        combinations: float64 (rank, parameters): what is identifiable is `combinations @ theta`.
    """

    names: tuple[str, ...]
    theta: np.ndarray
    covariance: np.ndarray
    combinations: np.ndarray

    @property
    def rank(self) -> int:
        """Number of identifiable combinations."""
        return len(self.combinations)

    def identifiable(self) -> list[tuple[str, float, float]]:
        """Every identifiable combination as (text, value, sigma), in units of theta (2 q for small q)."""
        values = self.combinations @ self.theta
        errors = np.sqrt(np.einsum("ij,jk,ik->i", self.combinations, self.covariance, self.combinations))
        return [
            (_combination(self.names, row), float(value), float(error))
            for row, value, error in zip(self.combinations, values, errors, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class NoiseFit:
    """Learned probabilities.

    Attributes:
        structure: whose mechanisms these are.
        estimator: what was used.
        p: float64 (mechanisms,), each in (0, 0.5).
        sigma: float64 (mechanisms,), one standard error of p.
        assumed: float64 (mechanisms,), probabilities of the model that the fit can be held against: the
            prior, or for the hybrid the shared-parameter fit.
        chi2: sum over equations of the squared residual over its variance.
        dof: equations minus free parameters. Equations are correlated: chi2 / dof scatters more than that of
            independent ones.
        shots: effective number of shots.
        dropped: detector sets whose equations were dropped.
        notes: what a reader should know, in sentences.
        parameters: of the shared-parameter fit, if there was one.
    """

    structure: Structure
    estimator: EstimatorName
    p: np.ndarray
    sigma: np.ndarray
    assumed: np.ndarray
    chi2: float
    dof: int
    shots: float
    dropped: tuple[tuple[int, ...], ...] = ()
    notes: tuple[str, ...] = ()
    parameters: SharedParameters | None = None

    @property
    def chi2_per_row(self) -> float:
        """chi2 / dof; about 1 where the model holds."""
        return self.chi2 / max(self.dof, 1)

    @classmethod
    def of_sets(
        cls,
        structure: Structure,
        equations: Equations,
        a: np.ndarray,
        sigma: np.ndarray,
        *,
        estimator: EstimatorName,
        free: int,
        notes: tuple[str, ...] = (),
    ) -> NoiseFit:
        """From attenuations of detector sets, shared among their mechanisms in proportion to the prior.

        Args:
            a, sigma: float64 (detector sets,), valid attenuations (see `clipped`) and their standard errors.
            free: number of free parameters.
            notes: to be told after those on dropped equations.
        """
        split = structure.split(a)
        chi2, rows = chi_squared(structure, equations, a)
        return cls(
            structure=structure,
            estimator=estimator,
            p=bounded_probability(split),
            sigma=mechanism_sigma(structure, split, a, sigma),
            assumed=structure.prior,
            chi2=chi2,
            dof=max(rows - free, 0),
            shots=equations.shots,
            dropped=dropped_sets(structure, equations.valid),
            notes=(*equation_notes(structure, equations), *notes),
        )

    def dem(self) -> stim.DetectorErrorModel:
        """The DEM with the structure's mechanisms, components and detector coordinates."""
        return assemble(self.structure, self.p)


def assemble(structure: Structure, p: np.ndarray) -> stim.DetectorErrorModel:
    """A DEM of the structure's mechanisms with probabilities p, float64 (mechanisms,).

    Raises:
        ValueError: a probability outside (0, 0.5).
    """
    bad = np.flatnonzero(~((p > 0) & (p < 0.5)))
    if len(bad):
        raise ValueError(f"mechanism {bad[0]} has probability {p[bad[0]]!r}; it must be in (0, 0.5)")
    dem = stim.DetectorErrorModel()
    for mechanism, rate in zip(structure.mechanisms, p.tolist(), strict=True):
        targets: list[object] = []
        for detectors, observables in mechanism.components:
            targets += [stim.target_separator()] if targets else []
            targets += map(stim.target_relative_detector_id, detectors)
            targets += map(stim.target_logical_observable_id, observables)
        dem.append("error", [rate], targets)
    for detector, coordinates in enumerate(structure.coordinates):
        dem.append("detector", list(coordinates), [stim.target_relative_detector_id(detector)])
    for observable in range(structure.num_observables):
        dem.append("logical_observable", [], [stim.target_logical_observable_id(observable)])
    return dem


def prior_scale(structure: Structure, set_attenuation: np.ndarray, *, where: np.ndarray) -> float:
    """By how much the prior must be multiplied to add up to the given attenuations of some detector sets.

    Args:
        set_attenuation: float64 (detector sets,).
        where: bool (detector sets,), which of them to add up; with none of them the scale is 1.
    """
    if not where.any():
        return 1.0
    scale = float(set_attenuation[where].sum() / structure.prior_attenuation[where].sum())
    return min(max(scale, 1e-3), 1e3)


def clipped(set_attenuation: np.ndarray, *, towards: np.ndarray) -> np.ndarray:
    """Attenuations that are valid: at least a fraction of `towards`, and p at most MAX_PROBABILITY.

    Args:
        set_attenuation, towards: float64 (detector sets,).
    """
    highest = attenuation(np.array(MAX_PROBABILITY))
    return np.minimum(np.maximum(set_attenuation, _SHRUNK * towards), highest)


def bounded_probability(a: np.ndarray) -> np.ndarray:
    """Probabilities of attenuations, within (0, MAX_PROBABILITY]."""
    return np.clip(probability(a), 1e-12, MAX_PROBABILITY)


def mechanism_sigma(
    structure: Structure, split: np.ndarray, a: np.ndarray, set_sigma: np.ndarray
) -> np.ndarray:
    """Standard errors of probabilities, float64 (mechanisms,), from those of the sets' attenuations.

    A mechanism without detectors cannot be learned: its error is its probability.
    """
    seen = structure.set_of >= 0
    sigma = probability(split)
    share = split[seen] / a[structure.set_of[seen]]
    sigma[seen] = share * set_sigma[structure.set_of[seen]] * np.exp(-split[seen]) / 2
    return sigma


def chi_squared(structure: Structure, equations: Equations, set_attenuation: np.ndarray) -> tuple[float, int]:
    """Sum of squared residuals over their variances, and the number of equations that have a variance.

    Args:
        set_attenuation: float64 (detector sets,), as fitted.
    """
    spread = variances(structure.parity, set_attenuation, shots=equations.shots)
    rows = equations.valid & (spread > 0)
    residual = equations.b - structure.parity @ set_attenuation
    return float(np.sum(residual[rows] ** 2 / spread[rows])), int(rows.sum())


def _combination(names: tuple[str, ...], row: np.ndarray) -> str:
    terms = [
        name if abs(value - 1) < 1e-6 else f"{value:.4g} {name}"
        for name, value in zip(names, row, strict=True)
        if abs(value) > 1e-6
    ]
    return " + ".join(terms).replace("+ -", "- ")
