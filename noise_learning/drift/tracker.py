"""Noise that changes: moving averages of moments, refitted per block, their window chosen by prediction.

Old shots say more about the present the slower the noise drifts. How slowly it does is measured: averages
over a ladder of windows run side by side, and each predicts the moments of the next block before that block
is added to it. The loss of a window is the chi^2 per moment of that prediction. A window that is too short
pays in statistical error, one that is too long in drift; the block's own noise is the same for all.

A fit of few parameters averages over moments, so it can afford a much shorter window than single moments can:
what predicts should have as many degrees of freedom as what is fitted (`shared_parameter_predictor`,
`measured_means`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import stim

from noise_learning.estimators.detectors import DetectorStates
from noise_learning.estimators.equations import Equations
from noise_learning.estimators.fit import NoiseFit
from noise_learning.models.shared_parameters import SharedParameterModel
from noise_learning.models.structure import Structure
from noise_learning.moments.moments import Moments

__all__ = ["NoiseTracker", "TrackedNoise", "measured_means", "prediction_loss", "shared_parameter_predictor"]

Predictor = Callable[[Moments], np.ndarray]
"""From moments of the past to the m_T to expect of the next block, float64 (subsets,)."""

_LADDER_BLOCKS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, math.inf)
"""Windows in units of the first block's shots."""
_LOSS_BLOCKS = 20.0
"""Losses are averaged over about this many blocks, so that the window follows a change of pace."""


def measured_means(moments: Moments) -> np.ndarray:
    """Predicts that moments stay as they were: for estimators that fit every mechanism by itself."""
    return moments.means


def shared_parameter_predictor(model: SharedParameterModel) -> Predictor:
    """Predicts the moments of the model's parameters, from a quick linear fit, for shared-parameter fits.

    Unlike `fit_shared_parameters` it weights equations by their variances only and may find negative rates,
    which costs a prediction little and keeps a ladder of windows cheap. Detectors from which nothing is
    learned are predicted to stay as they were.
    """

    def predict(moments: Moments) -> np.ndarray:
        detectors = DetectorStates.of(moments, model.structure)
        equations = Equations.of(moments, detectors)
        variance = np.expm1(2 * equations.b) + 1 / equations.shots  # of one shot; sets may never have fired
        weight = np.where(equations.valid, 1 / np.sqrt(np.maximum(variance, 1e-12)), 0.0)
        weighted = model.equations * weight[:, None]
        theta = np.linalg.lstsq(weighted, equations.b * weight, rcond=1e-6)[0]
        predicted = detectors.signs(moments.subsets) * np.exp(-(model.equations @ theta))
        return np.where(detectors.used(moments.subsets), predicted, moments.means)

    return predict


def prediction_loss(predicted: np.ndarray, block: Moments, *, variance: np.ndarray) -> float:
    """Mean over moments of (predicted - measured)^2 in units of the block's sampling variance.

    About 1 where the prediction is right. Moments that cannot vary are left out.

    Args:
        predicted: float64 (subsets,), m_T.
        variance: float64 (subsets,), of one shot: 1 - m_T^2.
    """
    varying = variance > 0
    if not varying.any():
        return 0.0
    errors = (predicted - block.means)[varying] ** 2 / variance[varying]
    return float(errors.mean()) * block.effective_shots


@dataclass(frozen=True)
class TrackedNoise:
    """What is known of the noise after a block.

    Attributes:
        fit: of the moving average over the chosen window.
        window_shots: that window: a shot of age a counts exp(-a / window_shots); 0 is the latest block alone,
            infinity all shots alike.
        effective_shots: N_eff of the average: unweighted shots of equal variance.
        shots: all shots so far.
        losses: chi^2 per moment of predicting the next block, by window; empty before the second block.
    """

    fit: NoiseFit
    window_shots: float
    effective_shots: float
    shots: int
    losses: dict[float, float]

    @property
    def dem(self) -> stim.DetectorErrorModel:
        """For the decoders of the next block."""
        return self.fit.dem()


class NoiseTracker:
    """Follows drifting noise, block by block, so that decoders can pick up a fresh DEM between blocks.

        tracker = NoiseTracker(structure, fit, predict=shared_parameter_predictor(model))
        for detections in blocks:
            predictions = decoder.decode(detections)          # with the DEM of the blocks before
            decoder = compile_decoder(tracker.update(detections).dem)

    Blocks may differ in size, and be as short as 50 shots.
    """

    def __init__(
        self,
        structure: Structure,
        fit: Callable[[Moments], NoiseFit],
        *,
        predict: Predictor = measured_means,
        windows: Sequence[float] | None = None,
    ) -> None:
        """Args:
            structure: whose subsets are counted.
            fit: from moments to an estimate; called once per block.
            predict: what chooses the window; called once per window and block.
            windows: window lengths in shots, of which one is chosen; by default 0, infinity and a ladder of
                factors 2 from half to 64 times the first block.

        Raises:
            ValueError: no window, or a negative one.
        """
        if windows is not None and not (len(windows) and all(w >= 0 for w in windows)):
            raise ValueError(f"{windows=} are not window lengths; give at least one, each >= 0 shots")
        self._structure = structure
        self._fit = fit
        self._predict = predict
        self._windows = () if windows is None else tuple(sorted({float(w) for w in windows}))
        self._averages: dict[float, Moments] = {}
        self._losses: dict[float, float] = {}
        self._loss_weight = 0.0
        self._all = Moments.zero(structure.subsets)

    def update(self, detections: np.ndarray) -> TrackedNoise:
        """Adds a block of shots and fits again.

        Args:
            detections: uint8 (shots, ceil(num_detectors / 8)), little-endian bits.

        Raises:
            ValueError: another dtype or shape, or no shots.
        """
        return self.update_moments(Moments.from_shots(self._structure.subsets, detections))

    def update_moments(self, block: Moments) -> TrackedNoise:
        """Adds a block whose moments were counted elsewhere.

        Raises:
            ValueError: moments of other subsets, or of no shots.
        """
        if not block.weight:
            raise ValueError("the block has no shots; skip it, or wait until there are some")
        self._windows = self._windows or tuple(block.weight * blocks for blocks in _LADDER_BLOCKS)
        self._all += block
        if self._averages:
            self._score(block)
        for window in self._windows:
            decay = math.exp(-block.weight / window) if window else 0.0
            past = self._averages.get(window, Moments.zero(block.subsets))
            self._averages[window] = past.scaled(decay) + block
        # Of equal losses, as before the second block, the longest wins: nothing says that noise drifts.
        chosen = min(reversed(self._windows), key=lambda window: self._losses.get(window, 0.0))
        average = self._averages[chosen]
        return TrackedNoise(
            fit=self._fit(average),
            window_shots=chosen,
            effective_shots=average.effective_shots,
            shots=round(self._all.weight),
            losses={window: loss / self._loss_weight for window, loss in self._losses.items()},
        )

    def _score(self, block: Moments) -> None:
        """Adds how well each window, which has not seen the block, predicts it."""
        variance = 1 - self._all.means**2
        keep = math.exp(-1 / _LOSS_BLOCKS)
        for window, average in self._averages.items():
            loss = prediction_loss(self._predict(average), block, variance=variance)
            self._losses[window] = keep * self._losses.get(window, 0.0) + loss
        self._loss_weight = keep * self._loss_weight + 1
