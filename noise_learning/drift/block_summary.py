"""Whether blocks of shots agree: how the noise drifted while they were taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from noise_learning.drift.tracker import prediction_loss
from noise_learning.estimators.detectors import DetectorStates
from noise_learning.estimators.equations import Equations
from noise_learning.estimators.fit import NoiseFit
from noise_learning.models.location_classes import Kind, has_coordinates, location_keys
from noise_learning.models.structure import attenuation
from noise_learning.moments.moments import Moments

__all__ = ["ANYWHERE", "GROUPS", "DriftSummary", "summarize_drift"]

GROUPS: dict[Kind | None, str] = {
    "time": "time",
    "readout": "readout",
    "space": "space, boundary",
    "boundary": "space, boundary",  # both are data qubits; short blocks do not tell them apart
    "hyperedge": "hyperedge",
    None: "first and last round",
}
"""Groups of mechanisms whose drift is followed, by kind of location class (`KINDS`)."""
ANYWHERE = "all mechanisms"
"""The only group where detectors have no coordinates."""


@dataclass(frozen=True, eq=False)
class DriftSummary:
    """How blocks of shots differ from what was learned from all of them.

    Attributes:
        first_shot: int64 (blocks,), index of each block's first shot.
        shots: int64 (blocks,).
        chi2: float64 (blocks,), per moment, of the block against all shots; about 1 without drift.
        density: float64 (blocks,), detection events over detectors.
        scales: by group of mechanisms (values of GROUPS), float64 (blocks,): by what factor the learned
            attenuations of the group must be multiplied to fit the block.
    """

    first_shot: np.ndarray
    shots: np.ndarray
    chi2: np.ndarray
    density: np.ndarray
    scales: dict[str, np.ndarray]

    @property
    def mean_chi2(self) -> tuple[float, float]:
        """Mean of `chi2` and its standard error, from the scatter between blocks.

        Raises:
            ValueError: fewer than two blocks.
        """
        if len(self.chi2) < 2:
            raise ValueError(f"{len(self.chi2)} block does not show drift; it takes two")
        return float(self.chi2.mean()), float(self.chi2.std(ddof=1) / np.sqrt(len(self.chi2)))

    def sampling_error(self, group: str) -> float:
        """Standard error of one full block's scale, from the differences between neighbouring blocks.

        Drift that is slow against a block does not count. NaN with fewer than three full blocks.
        """
        steps = np.diff(self._full(group))
        return float(np.sqrt(np.mean(steps**2) / 2)) if len(steps) >= 2 else float("nan")

    def swing(self, group: str) -> float:
        """Standard deviation of the scale between blocks beyond its sampling error; NaN as that."""
        scales = self._full(group)
        if len(scales) < 3:
            return float("nan")
        return float(np.sqrt(max(scales.var(ddof=1) - self.sampling_error(group) ** 2, 0.0)))

    def _full(self, group: str) -> np.ndarray:
        """The scales of full blocks; the last block may be short."""
        return self.scales[group][self.shots == self.shots.max()]


def summarize_drift(fit: NoiseFit, blocks: Sequence[Moments]) -> DriftSummary:
    """Holds every block against all of them, and against the fit of all of them.

    Raises:
        ValueError: no blocks, or moments of other subsets.
    """
    if not blocks:
        raise ValueError("there are no blocks of shots; add shots first")
    shots = np.array([round(block.weight) for block in blocks])
    total = sum(blocks[1:], start=blocks[0])
    variance = 1 - total.means**2
    chi2 = [
        prediction_loss(total.means, block, variance=variance)
        / (1 - block.weight / total.weight if len(blocks) > 1 else 1.0)  # a block is part of all shots
        for block in blocks
    ]
    groups, design = _design(fit)
    detectors = fit.detectors or DetectorStates.of(total, fit.structure)
    scales = np.array([_scales(design, block, detectors) for block in blocks])
    return DriftSummary(
        first_shot=np.cumsum(shots) - shots,
        shots=shots,
        chi2=np.array(chi2),
        density=np.array([_density(block, fit.structure.num_detectors) for block in blocks]),
        scales=dict(zip(groups, scales.T, strict=True)),
    )


def _density(block: Moments, num_detectors: int) -> float:
    """Detection events over detectors; those that no mechanism flips count as never firing."""
    return float(block.odd[block.subsets.sizes == 1].sum() / (block.weight * num_detectors))


def _design(fit: NoiseFit) -> tuple[list[str], np.ndarray]:
    """Groups, and float64 (subsets, groups): what the learned attenuations of each add to b."""
    structure = fit.structure
    if has_coordinates(structure):
        labels = [GROUPS[None if key is None else key[0]] for key in location_keys(structure)]
    else:
        labels = [ANYWHERE] * len(fit.p)
    groups = [group for group in dict.fromkeys((*GROUPS.values(), ANYWHERE)) if group in labels]
    belongs = np.array([[label == group for group in groups] for label in labels])
    attenuations = structure.membership @ (attenuation(fit.p)[:, None] * belongs)
    return groups, structure.parity @ attenuations


def _scales(design: np.ndarray, block: Moments, detectors: DetectorStates) -> np.ndarray:
    """Weighted least squares for the factors of all groups, float64 (groups,)."""
    equations = Equations.of(block, detectors)
    expected = design.sum(axis=1)
    weight = np.where(equations.valid, 1 / np.sqrt(np.expm1(2 * expected)), 0.0)
    return np.linalg.lstsq(design * weight[:, None], equations.b * weight, rcond=None)[0]
