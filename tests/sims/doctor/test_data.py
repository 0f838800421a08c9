"""The doctor of models and shots names the mistake that was made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import stim

from qec import NormalForm, depolarizing, memory_circuit, normal_form
from sims.doctor.finding import Finding
from sims.doctor.model import examine_model
from sims.doctor.shots import examine_shots, gather

from ..conftest import RunCli

SHOTS = 20_000


def _circuit(p: float = 0.006) -> stim.Circuit:
    return memory_circuit(distance=3, rounds=3, basis="x", noise=depolarizing(p))


def _dem(p: float = 0.006) -> stim.DetectorErrorModel:
    return _circuit(p).detector_error_model(decompose_errors=True)


@pytest.fixture(scope="module")
def sampled() -> tuple[np.ndarray, np.ndarray]:
    """Detections and observables, a bool each."""
    detections, flips = _circuit().compile_detector_sampler(seed=7).sample(SHOTS, separate_observables=True)
    return np.asarray(detections), np.asarray(flips)


def _findings(
    dem: stim.DetectorErrorModel, detections: np.ndarray, flips: np.ndarray | None = None
) -> dict[str, Finding]:
    def chunks() -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        for part in (slice(0, 5000), slice(5000, None)):
            packed = [
                None if data is None else np.packbits(data[part], axis=1, bitorder="little")
                for data in (detections, flips)
            ]
            assert packed[0] is not None
            yield packed[0], packed[1]

    return {finding.name: finding for finding in examine_shots(dem, chunks())}


def test_shots_of_the_model_fit_it(sampled: tuple[np.ndarray, np.ndarray]) -> None:
    found = _findings(_dem(), *sampled)
    assert found["verdict"].value == "the shots fit the model"
    assert {finding.level for finding in found.values()} == {"ok"}
    assert f"{sampled[0].mean():.4f} of the detectors fire in 20,000 shots" in found["density"].value
    assert f"no decoding {sampled[1].mean():.4g}" in found["LER"].value


def test_chi_squared_and_densities_are_those_by_hand(sampled: tuple[np.ndarray, np.ndarray]) -> None:
    """Expected densities by sampling the model's shots, z-scores from the definition."""
    packed = np.packbits(sampled[0], axis=1, bitorder="little")
    normal: NormalForm = normal_form(_dem())
    found = gather(normal, packed)
    other = _dem().compile_sampler(seed=9).sample(100_000)[0].mean(axis=0)
    np.testing.assert_allclose(found.expected, other, atol=5e-3)
    p = found.expected
    z = (sampled[0].mean(axis=0) - p) / np.sqrt(p * (1 - p) / SHOTS)
    np.testing.assert_allclose(found.z, z, rtol=1e-6)
    assert found.chi_squared == pytest.approx((z**2).mean())
    assert 0.3 < found.chi_squared < 2.5


@pytest.mark.parametrize(
    ("mistake", "message", "level"),
    [
        ("order", "the file has them in another order", "problem"),
        ("labels", "the labels are of another run, observable or order", "problem"),
        ("inverted", "the observable's flips are inverted", "problem"),
        ("format", "half of all detectors fire, as if these were raw measurements", "problem"),
        ("weak", "the noise is more than the model's, 1.9", "note"),
        ("crosstalk", "errors that the model does not have", "note"),
        ("impossible", "detectors fire that cannot", "problem"),
    ],
)
def test_the_mistake_is_named(
    mistake: str, message: str, level: str, sampled: tuple[np.ndarray, np.ndarray]
) -> None:
    dem = _dem()
    detections, flips = (array.copy() for array in sampled)
    rng = np.random.default_rng(3)
    if mistake == "order":
        detections = detections[:, rng.permutation(detections.shape[1])]
    elif mistake == "labels":
        flips = rng.random(flips.shape) < 0.5
    elif mistake == "inverted":
        flips = ~flips
    elif mistake == "format":
        detections = rng.random(detections.shape) < 0.5
    elif mistake == "weak":
        dem = _dem(0.003)
    elif mistake == "crosstalk":
        together = rng.random(SHOTS) < 0.01
        detections[:, 0] ^= together
        detections[:, -1] ^= together
    else:
        never = detections.shape[1]
        dem.append("detector", [], [stim.target_relative_detector_id(never)])
        detections = np.column_stack([detections, rng.random(SHOTS) < 0.1])
    found = _findings(dem, detections, flips)
    assert message in found["verdict"].value
    assert found["verdict"].level == level
    if mistake == "crosstalk":
        assert f"D0 D{detections.shape[1] - 1}" in found["missing edges"].value


def test_models_say_what_cannot_be_decoded() -> None:
    dem = stim.DetectorErrorModel("""
        error(0.1) D0 D1 D2
        error(0.01) L0
        error(0.02) L0
        error(0.1) D0 L0
        error(0.1) D0
        detector D3
        logical_observable L1
    """)
    found = {finding.name: finding for finding in examine_model(dem)}
    assert found["size"].value.startswith("4 detectors, 2 observables, ")
    assert (
        f"the logical error rate is {0.01 * 0.98 + 0.99 * 0.02:.3g} at least" in found["undetectable"].value
    )
    assert "1 components of more than two detectors" in found["hyperedges"].value
    assert "1 detectors that no mechanism flips (D3)" in found["never fire"].value
    assert "every decoder predicts 0" in found["L1"].value
    assert found["distance"].value.startswith("1: ")
    assert {name for name, one in found.items() if one.level == "problem"} == {
        "undetectable",
        "L1",
        "distance",
    }


def test_the_distance_is_that_of_the_patch() -> None:
    found = {finding.name: finding for finding in examine_model(_dem())}
    assert found["distance"].value.startswith("3: ")
    assert found["distance"].level == "ok"


def test_the_verb_reads_files(
    tmp_path: Path, sampled: tuple[np.ndarray, np.ndarray], run_cli: RunCli
) -> None:
    _dem().to_file(tmp_path / "c.dem")
    detections, flips = sampled
    for name, data, counts in (
        ("s.b8", detections, {"num_detectors": detections.shape[1]}),
        ("obs.01", flips, {"num_observables": 1}),
        ("bad.01", ~flips, {"num_observables": 1}),
        ("few.01", flips[:100], {"num_observables": 1}),
    ):
        stim.write_shot_data_file(
            data=data, path=tmp_path / name, format="01" if name.endswith("01") else "b8", **counts
        )
    common = ("doctor", "--dem", tmp_path / "c.dem")
    code, text, err = run_cli(*common)
    assert (code, err) == (0, "")
    assert "distance" in text
    shots = (*common, "--shots", tmp_path / "s.b8")
    code, text, err = run_cli(*shots, "--obs", tmp_path / "obs.01")
    assert (code, err) == (0, "")
    assert "the shots fit the model" in text
    code, text, _ = run_cli(*shots, "--obs", tmp_path / "bad.01")
    assert code == 1
    assert "flips are inverted" in text
    code, _, err = run_cli(*shots, "--obs", tmp_path / "few.01")
    assert code == 2
    assert "one ends after 100 shots and the other does not" in err
    code, _, err = run_cli("doctor", "--shots", tmp_path / "s.b8")
    assert code == 2
    assert "--shots needs a model to compare them with; add --dem or --circuit" in err
