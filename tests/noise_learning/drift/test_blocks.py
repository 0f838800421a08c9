"""Blocks add up to the whole stream, stay few, and show drift only where there is some."""

from __future__ import annotations

import numpy as np
import pytest
import stim
from hypothesis import given, settings
from hypothesis import strategies as st

from noise_learning import BlockLog, Moments, Structure, fit_closed_form
from noise_learning.drift.block_summary import ANYWHERE, summarize_drift
from noise_learning.moments import block_log
from qec import depolarizing, memory_circuit


def _circuit(p: float) -> stim.Circuit:
    return memory_circuit(distance=3, rounds=4, noise=depolarizing(p))


@pytest.fixture(scope="module")
def structure() -> Structure:
    return Structure.from_circuit(_circuit(0.01))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_FIRST_BLOCK", 8), ("_MOST_BLOCKS", 4), ("_COUNT_SHOTS", 16)):
        monkeypatch.setattr(block_log, name, value)


def test_any_cut_of_a_stream_gives_the_same_few_blocks(small_blocks: None, structure: Structure) -> None:
    shots = _circuit(0.02).compile_detector_sampler(seed=1).sample(300, bit_packed=True)

    @settings(max_examples=30)
    @given(st.lists(st.integers(1, 60), min_size=1, max_size=20))
    def check(sizes: list[int]) -> None:
        cuts = np.cumsum(sizes)
        total = min(int(cuts[-1]), len(shots))
        log = BlockLog(structure.subsets)
        for chunk in np.split(shots[:total], cuts[cuts < total]):
            log.add(chunk)
            assert len(log.blocks) <= 4
        whole = Moments.from_shots(structure.subsets, shots[:total])
        assert log.shots == log.total.weight == total
        np.testing.assert_array_equal(log.total.odd, whole.odd)
        weights = [block.weight for block in log.blocks]
        assert len(set(weights[:-1])) <= 1
        assert weights[-1] <= weights[0]
        first = Moments.from_shots(structure.subsets, shots[: int(weights[0])])
        np.testing.assert_array_equal(log.blocks[0].odd, first.odd)

    check()


def _log(structure: Structure, rates: list[float], shots: int) -> BlockLog:
    log = BlockLog(structure.subsets)
    for seed, p in enumerate(rates):
        log.add(np.asarray(_circuit(p).compile_detector_sampler(seed=seed).sample(shots, bit_packed=True)))
    return log


def test_steady_noise_shows_no_drift(structure: Structure) -> None:
    log = _log(structure, [0.01], 30_000)
    drift = summarize_drift(fit_closed_form(log.total, structure), log.blocks)
    assert len(drift.shots) == 30
    assert drift.first_shot.tolist() == [1024 * k for k in range(30)]
    mean, error = drift.mean_chi2
    assert abs(mean - 1) < 4 * error + 0.02
    for group, scales in drift.scales.items():
        assert scales.mean() == pytest.approx(1.0, abs=0.1)
        assert drift.swing(group) < 2 * drift.sampling_error(group)


def test_a_step_of_the_rates_shows_as_such(structure: Structure) -> None:
    log = _log(structure, [0.006, 0.012], 1024 * 15)
    drift = summarize_drift(fit_closed_form(log.total, structure), log.blocks)
    assert drift.mean_chi2[0] > 2
    for group, scales in drift.scales.items():
        assert scales[:15].mean() < 0.85 < 1.15 < scales[15:].mean()
        assert drift.swing(group) > 0.2
    density = [
        np.asarray(_circuit(p).compile_detector_sampler(seed=seed).sample(15 * 1024)).mean()
        for seed, p in enumerate([0.006, 0.012])
    ]
    np.testing.assert_allclose([drift.density[:15].mean(), drift.density[15:].mean()], density)


def test_without_coordinates_all_mechanisms_are_one_group() -> None:
    bare = _circuit(0.01).detector_error_model()
    text = "\n".join(str(i) for i in bare.flattened() if i.type == "error")
    structure = Structure.from_dem(stim.DetectorErrorModel(text))
    log = _log(structure, [0.01], 4000)
    drift = summarize_drift(fit_closed_form(log.total, structure), log.blocks)
    assert list(drift.scales) == [ANYWHERE]
    assert drift.scales[ANYWHERE].mean() == pytest.approx(1.0, abs=0.1)


def test_one_short_block_is_no_drift_and_no_error(structure: Structure) -> None:
    log = _log(structure, [0.01], 50)
    drift = summarize_drift(fit_closed_form(log.total, structure), log.blocks)
    assert drift.shots.tolist() == [50]
    assert np.isnan(drift.swing("time"))
    with pytest.raises(ValueError, match="it takes two"):
        _ = drift.mean_chi2
    with pytest.raises(ValueError, match="no blocks"):
        summarize_drift(fit_closed_form(log.total, structure), [])
