"""The tracker follows what drifts, keeps what does not, and stays valid on next to nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import stim

from noise_learning import Moments, SharedParameterModel, fit_closed_form, fit_shared_parameters
from noise_learning.drift.tracker import (
    NoiseTracker,
    measured_means,
    prediction_loss,
    shared_parameter_predictor,
)
from qec import CircuitNoise, depolarizing, memory_circuit, normal_form


def _circuit(noise: CircuitNoise) -> stim.Circuit:
    return memory_circuit(distance=3, rounds=3, noise=noise)


@pytest.fixture(scope="module")
def model() -> SharedParameterModel:
    return SharedParameterModel.of_memory(distance=3, rounds=3)


def _tracker(model: SharedParameterModel, **keywords) -> NoiseTracker:
    return NoiseTracker(
        model.structure,
        lambda m: fit_shared_parameters(m, model),
        predict=shared_parameter_predictor(model),
        **keywords,
    )


def _shots(noise: CircuitNoise, shots: int, seed: int) -> np.ndarray:
    detections, _ = (
        _circuit(noise)
        .compile_detector_sampler(seed=seed)
        .sample(shots, separate_observables=True, bit_packed=True)
    )
    return detections


def _rates(dem: stim.DetectorErrorModel) -> np.ndarray:
    return normal_form(dem).tables.probabilities


def test_steady_noise_is_averaged_over_a_long_window(model: SharedParameterModel) -> None:
    tracker = _tracker(model)
    tracked = [tracker.update(_shots(depolarizing(0.01), 1000, seed)) for seed in range(12)]
    assert tracked[-1].shots == 12_000
    assert tracked[-1].window_shots >= 4000
    assert tracked[-1].effective_shots > 5000
    assert tracked[-1].losses[math.inf] < tracked[-1].losses[0.0]


def test_drifting_noise_is_averaged_over_a_short_window(model: SharedParameterModel) -> None:
    """Rates grow by a fifth from block to block, so anything but the latest blocks misleads."""
    tracker = _tracker(model)
    blocks = [_shots(depolarizing(0.002 * 1.2**block), 20_000, block) for block in range(10)]
    for block in blocks:
        tracked = tracker.update(block)
    assert tracked.window_shots <= 20_000
    assert tracked.losses[tracked.window_shots] == min(tracked.losses.values())
    total = _rates(
        _circuit(depolarizing(0.002 * 1.2**9)).detector_error_model(approximate_disjoint_errors=True)
    ).sum()
    assert tracked.fit.p.sum() == pytest.approx(total, rel=0.25)
    everything = Moments.from_shots(model.structure.subsets, blocks)
    assert fit_shared_parameters(everything, model).p.sum() < 0.7 * total


def test_the_average_is_the_weighted_sum_of_blocks(model: SharedParameterModel) -> None:
    """One window, blocks of different sizes: the fit sees every shot with its weight exp(-age / window)."""
    seen: list[Moments] = []

    def fit(moments: Moments):
        seen.append(moments)
        return fit_closed_form(moments, model.structure)

    window, sizes = 3000.0, (500, 2000, 1200)
    tracker = NoiseTracker(model.structure, fit, windows=[window])
    blocks = [_shots(depolarizing(0.01), n, seed) for seed, n in enumerate(sizes)]
    for block in blocks:
        tracked = tracker.update(block)
    weights = [math.exp(-sum(sizes[k + 1 :]) / window) for k in range(len(sizes))]
    parts = [Moments.from_shots(model.structure.subsets, block) for block in blocks]
    expected = sum(w * part.odd for w, part in zip(weights, parts, strict=True))
    np.testing.assert_allclose(seen[-1].odd, expected)
    effective = np.dot(weights, sizes) ** 2 / np.dot(np.square(weights), sizes)
    assert tracked.effective_shots == pytest.approx(effective)


@pytest.mark.parametrize("windows", [None, [0.0], [math.inf]])
def test_blocks_of_fifty_shots_and_odd_detectors_give_valid_models(
    windows: list[float] | None, model: SharedParameterModel
) -> None:
    """Detector 0 never fires, detector 1 always, at p = 0.02."""
    tracker = _tracker(model, windows=windows)
    for seed in range(4):
        detections = _shots(depolarizing(0.02), 50, seed)
        detections[:, 0] = (detections[:, 0] & ~np.uint8(1)) | np.uint8(2)
        tracked = tracker.update(detections)
        assert ((_rates(tracked.dem) > 0) & (_rates(tracked.dem) < 0.5)).all()
        assert np.isfinite(tracked.fit.sigma).all()
        assert tracked.dem.num_detectors == model.structure.num_detectors
    assert all(math.isfinite(loss) for loss in tracked.losses.values())


def test_a_random_and_an_inverted_detector_do_not_hide_the_drift(model: SharedParameterModel) -> None:
    """Window and rates are those of the shots as they were."""
    chosen, totals = [], []
    for strange in (False, True):
        tracker = _tracker(model)
        for block in range(8):
            detections = _shots(depolarizing(0.002 * 1.2**block), 10_000, block).copy()
            if strange:
                bits = np.random.default_rng(block).integers(0, 2, len(detections), dtype=np.uint8)
                detections[:, 0] = (detections[:, 0] & ~np.uint8(1)) | bits
                detections[:, 0] ^= np.uint8(2)
            tracked = tracker.update(detections)
        chosen.append(tracked.window_shots)
        p = tracked.fit.p
        totals.append(p[p < 0.4].sum())
    assert chosen[0] == chosen[1] <= 10_000
    assert totals[1] == pytest.approx(totals[0], rel=0.1)
    assert (tracked.fit.p > 0.9).sum() == 1


def test_a_right_prediction_costs_one_per_moment(model: SharedParameterModel) -> None:
    past = Moments.from_shots(model.structure.subsets, _shots(depolarizing(0.01), 400_000, 1))
    block = Moments.from_shots(model.structure.subsets, _shots(depolarizing(0.01), 2000, 2))
    variance = 1 - past.means**2
    for predict in (measured_means, shared_parameter_predictor(model)):
        assert prediction_loss(predict(past), block, variance=variance) == pytest.approx(1.0, abs=0.15)
    wrong = Moments.from_shots(model.structure.subsets, _shots(depolarizing(0.015), 100_000, 1))
    assert prediction_loss(measured_means(wrong), block, variance=variance) > 2


def test_a_quick_fit_of_few_parameters_predicts_better_than_the_shots_it_saw(
    model: SharedParameterModel,
) -> None:
    past = Moments.from_shots(model.structure.subsets, _shots(depolarizing(0.01), 500, 3))
    block = Moments.from_shots(model.structure.subsets, _shots(depolarizing(0.01), 20_000, 4))
    variance = 1 - block.means**2
    shared = prediction_loss(shared_parameter_predictor(model)(past), block, variance=variance)
    assert shared < 0.3 * prediction_loss(measured_means(past), block, variance=variance)


def test_impossible_blocks_and_windows_are_refused(model: SharedParameterModel) -> None:
    with pytest.raises(ValueError, match=r"windows=\[-1.0\]"):
        _tracker(model, windows=[-1.0])
    with pytest.raises(ValueError, match=r"windows=\[\]"):
        _tracker(model, windows=[])
    tracker = _tracker(model)
    with pytest.raises(ValueError, match="no shots"):
        tracker.update(np.zeros((0, -(-model.structure.num_detectors // 8)), dtype=np.uint8))
    with pytest.raises(ValueError, match="shots are"):
        tracker.update(np.zeros((5, 1), dtype=np.uint8))
