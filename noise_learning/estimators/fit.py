"""What an estimator says: a probability with an error bar for each mechanism, and the DEM of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import stim

from noise_learning.estimators.attenuations import bounded_probability
from noise_learning.estimators.detectors import DetectorStates
from noise_learning.estimators.equations import Equations, variances
from noise_learning.estimators.geometric_mean import geometric_mean
from noise_learning.estimators.learning_data import LearningData
from noise_learning.models.structure import Structure, attenuation, probability

EstimatorName = Literal["closed-form", "shared-parameters", "hybrid", "stationary"]


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
        p: float64 (mechanisms,), each in (0, 1): above 1/2 where detectors fire more often than not.
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
        detectors: what detectors did in the shots, if there were any.
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
    detectors: DetectorStates | None = None

    @property
    def chi2_per_row(self) -> float:
        """chi2 / dof; about 1 where the model holds."""
        return self.chi2 / max(self.dof, 1)

    @classmethod
    def of(
        cls,
        data: LearningData,
        split: np.ndarray,
        sigma: np.ndarray,
        *,
        estimator: EstimatorName,
        chi2: float,
        dof: int,
        assumed: np.ndarray | None = None,
        notes: tuple[str, ...] = (),
        parameters: SharedParameters | None = None,
    ) -> NoiseFit:
        """From attenuations of mechanisms, which may happen in more than half of the shots.

        Args:
            split: float64 (mechanisms,), attenuations.
            sigma: float64 (mechanisms,), standard errors of probabilities.
            assumed: by default the probabilities of the given structure.
            notes: to be told after those on the data.
        """
        p = data.probabilities(bounded_probability(split, shots=data.shots))
        return cls(
            structure=data.whole,
            estimator=estimator,
            p=p,
            sigma=data.errors(sigma, p),
            assumed=data.whole.given if assumed is None else assumed,
            chi2=chi2,
            dof=dof,
            shots=data.shots,
            detectors=data.detectors,
            dropped=data.dropped,
            notes=(*data.notes, *notes),
            parameters=parameters,
        )

    @classmethod
    def of_sets(
        cls,
        data: LearningData,
        a: np.ndarray,
        sigma: np.ndarray,
        *,
        estimator: EstimatorName,
        free: int,
        notes: tuple[str, ...] = (),
    ) -> NoiseFit:
        """From attenuations of detector sets, shared among their mechanisms in proportion to the prior.

        Mechanisms that flip no detector that is used keep the prior, scaled as all others are.

        Args:
            a, sigma: float64 (detector sets,), valid attenuations (see `clipped`) and their standard errors.
            free: number of free parameters.
            notes: to be told after those on the data.
        """
        structure, prior = data.structure, attenuation(data.structure.prior)
        unlearned = (structure.set_of < 0) & (data.whole.set_of >= 0)
        split = structure.split(a, by=np.where(unlearned, data.raw.scale * prior, prior))
        chi2, rows = chi_squared(structure, data.equations, a)
        return cls.of(
            data,
            split,
            mechanism_sigma(structure, split, a, sigma),
            estimator=estimator,
            chi2=chi2,
            dof=max(rows - free, 0),
            notes=notes,
        )

    def with_floor(self, p: float) -> NoiseFit:
        """The same, where errors that flip one detector alone have at least probability p.

        What flips many detectors in many rounds, leakage above all, counts in several pairs, and leaves too
        little for single detectors. A floor costs matching nothing where they are as rare as was learned.

        The standard error of what is raised is by how much p is off if the fit is right: the root of the
        learned one's square and that of the distance from what was learned.

        Raises:
            ValueError: p is not from 0 to below 1/2.
        """
        if not 0 <= p < 0.5:
            raise ValueError(f"a floor of {p!r} is no probability from 0 to below 1/2")
        alone = np.array([len(mechanism.detectors) == 1 for mechanism in self.structure.mechanisms])
        raised = alone & (self.p < p)
        if not raised.any():
            return self
        note = f"{np.count_nonzero(raised)} mechanisms that flip one detector alone were raised to {p:g}"
        floored = np.where(raised, p, self.p)
        return replace(
            self, p=floored, sigma=np.hypot(self.sigma, floored - self.p), notes=(*self.notes, note)
        )

    def towards_prior(self, share: float) -> NoiseFit:
        """The same, drawn towards the circuit's probabilities: learned^(1 - share) * circuit^share.

        See `noise_learning.towards_prior`, which does the same with two DEMs. Above 1/2 it is 1 - p that is
        drawn, so that what always happens stays. What flips a detector that fires half the time stays, too:
        a decoder must not come to trust such a detector because the circuit does.

        The standard error is by how much the mean moves if the learned probability is one standard error
        higher, (1 - share) of the relative one where that is small: what shots leave open. How far off the
        circuit's rates are is in no shot, and not in it.

        Raises:
            ValueError: a share outside [0, 1].
        """
        rare = np.minimum(self.p, 1 - self.p)
        mean = geometric_mean(rare, self.structure.prior, share=share)
        if share == 0:
            return self
        higher = geometric_mean(rare + self.sigma, self.structure.prior, share=share)
        note = (
            f"probabilities of mechanisms are learned^{1 - share:g} x circuit^{share:g}: geometric means, "
            "the circuit's rates being a second opinion; standard errors are of what shots say"
        )
        stays = self._at_random_detectors()
        drawn = np.where(self.p > 0.5, 1 - mean, mean)
        return replace(
            self,
            p=np.where(stays, self.p, drawn),
            sigma=np.where(stays, self.sigma, higher - mean),
            notes=(*self.notes, note),
        )

    def _at_random_detectors(self) -> np.ndarray:
        """bool (mechanisms,): whether one flips a detector that fires half the time, or nearly."""
        states = self.detectors
        random = set() if states is None else {*states.random, *states.near}
        return np.array([not random.isdisjoint(one.detectors) for one in self.structure.mechanisms])

    def dem(self) -> stim.DetectorErrorModel:
        """The DEM with the structure's mechanisms, components and detector coordinates."""
        return assemble(self.structure, self.p)


def assemble(structure: Structure, p: np.ndarray) -> stim.DetectorErrorModel:
    """A DEM of the structure's mechanisms with probabilities p, float64 (mechanisms,).

    Raises:
        ValueError: a probability outside (0, 1).
    """
    bad = np.flatnonzero(~((p > 0) & (p < 1)))
    if len(bad):
        raise ValueError(f"mechanism {bad[0]} has probability {p[bad[0]]!r}; it must be in (0, 1)")
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
        f"{'-' if value < 0 else ''}{name}" if abs(abs(value) - 1) < 1e-6 else f"{value:.4g} {name}"
        for name, value in zip(names, row, strict=True)
        if abs(value) > 1e-6
    ]
    return " + ".join(terms).replace("+ -", "- ")
