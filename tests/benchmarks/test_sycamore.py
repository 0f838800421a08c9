"""Errors per cycle: the fit finds what is true, and Google's own numbers from Google's prediction files."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from qec import normal_form
from scripts.benchmarks.results import update_results
from scripts.benchmarks.sycamore import KEY, Counted, Cycle, Flags, Shots, render

SYCAMORE = Path(__file__).parents[3] / "shared" / "data" / "google_sycamore"
CYCLES = range(1, 26, 2)


def _counted(cycles: int, errors: int, *, shots: int = 25_000, patch: str = "d5") -> Counted:
    return Counted(patch, cycles, "pymatching", "pij", "", "", shots, errors)


def _error_rate(cycles: int, *, per_cycle: float, offset: float = 0.95) -> float:
    """With state preparation and measurement errors that do not grow with the cycles."""
    return (1 - offset * (1 - 2 * per_cycle) ** cycles) / 2


def test_fit_finds_the_error_per_cycle_and_its_spread():
    """The first two cycles count for nothing; sigma is that of 500 repetitions."""
    rng, fits = np.random.default_rng(1), []
    for _ in range(500):
        counts = [_counted(r, rng.binomial(25_000, _error_rate(r, per_cycle=0.03))) for r in CYCLES]
        counts[0] = _counted(1, 12_000)
        fit = Cycle.fitted(counts)
        assert fit is not None
        fits.append(fit)
    errors = np.array([fit.error for fit in fits])
    assert errors.mean() == pytest.approx(0.03, abs=3 * errors.std() / np.sqrt(500))
    assert np.mean([fit.sigma for fit in fits]) == pytest.approx(errors.std(), rel=0.1)


def test_one_number_of_cycles_has_no_slope():
    assert Cycle.fitted([_counted(1, 500), _counted(3, 1000)]) is None


@pytest.mark.parametrize("errors", [0, 12_500, 20_000])
def test_a_coin_is_named(errors):
    with pytest.raises(ValueError, match=rf"d5, 5 cycles, pymatching: {errors} errors of 25000 shots"):
        Cycle.fitted([_counted(3, 1000), _counted(5, errors)])


def test_table_has_the_mean_of_the_small_patches():
    rows = [
        vars(_counted(r, round(1e6 * _error_rate(r, per_cycle=e)), shots=1_000_000, patch=patch))
        for patch, e in (("d3_a", 0.02), ("d3_b", 0.04), ("d5_a", 0.01))
        for r in (3, 5, 7)
    ]
    header, _, row = render(rows).splitlines()
    assert (
        header == "| decoder | DEM | weights | policy | shots of each "
        "| d3_a, % a cycle | d3_b, % a cycle | d5_a, % a cycle | d = 3, mean |"
    )
    assert [cell.split(" ± ")[0] for cell in row.strip("| ").split(" | ")[4:]] == [
        "1,000,000",
        "2.000",
        "4.000",
        "1.000",
        "3.000",
    ]


def test_an_ensemble_names_all_its_weights():
    flags = Flags(out=Path(), data=Path(), weights="a", opinions=("b",))
    assert flags.weights_of("neural-ensemble") == ("a", "b")
    assert flags.weights_of("neural-matching") == flags.weights_of("predecoder+pymatching") == ("a",)
    assert flags.weights_of("pymatching") == ()
    counts = [
        vars(_counted(r, 3000 + r)) | {"weights": "a + b", "sha256": "1" * 64 + " " + "2" * 64}
        for r in (3, 5)
    ]
    assert "| `a` 11111111, `b` 22222222 |" in render(counts)


def test_other_policies_and_numbers_of_shots_are_other_rows(tmp_path: Path):
    """None takes another's place, and none is fitted with another's; rows without a policy are older ones."""
    old = [
        {name: value for name, value in vars(_counted(r, 3000)).items() if name != "policy"} for r in (3, 5)
    ]
    new = [vars(_counted(r, 2000)) | {"policy": "shares 1"} for r in (3, 5)]
    fewer = [vars(_counted(r, 900, shots=8000)) | {"policy": "shares 1"} for r in (3, 5)]
    (tmp_path / "sycamore.json").write_text(json.dumps(old))
    assert [Counted(**row).policy for row in old] == ["", ""]  # as lines of a log are read
    data, page = update_results(tmp_path, "sycamore", [*new, *fewer], key=KEY, render=render)
    assert len(json.loads(data.read_text())) == 6
    labels = [line.split(" | ")[3:5] for line in page.read_text().splitlines()[2:]]
    assert labels == [["", "25,000"], ["shares 1", "8,000"], ["shares 1", "25,000"]]
    update_results(tmp_path, "sycamore", [old[0] | {"policy": "", "errors": 3001}], key=KEY, render=render)
    assert [row["errors"] for row in json.loads(data.read_text())][:2] == [3001, 3000]


@pytest.mark.skipif(not SYCAMORE.is_dir(), reason="needs Google's Sycamore data in ../shared/data")
def test_a_dem_with_the_circuits_rates_is_half_of_each():
    shots = Shots(SYCAMORE / "d3_3_5" / "r03")
    one, other, mixed = (
        normal_form(shots.dem(name)).hyperedges for name in ("pij", "circuit", "pij+circuit")
    )
    of, guessed = (dict(zip(dem.detectors, dem.probabilities, strict=True)) for dem in (one, other))
    assert set(of) < set(guessed) == set(mixed.detectors)  # p_ij leaves out what correlations do not show
    expected = [math.sqrt(of[d] * guessed[d]) if d in of else guessed[d] / 2 for d in mixed.detectors]
    np.testing.assert_allclose(mixed.probabilities, expected, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.skipif(not SYCAMORE.is_dir(), reason="needs Google's Sycamore data in ../shared/data")
def test_noise_of_other_cycles_says_how_often_detectors_fire():
    shots = Shots(SYCAMORE / "d3_3_5" / "r05")  # no cycles that it is learned from
    dem = normal_form(shots.dem("joint")).hyperedges
    kept = np.ones(shots.circuit.num_detectors)
    for detectors, probability in zip(dem.detectors, dem.probabilities, strict=True):
        kept[list(detectors)] *= 1 - 2 * probability
    bits = np.unpackbits(shots.detections[1::2], axis=1, bitorder="little")[:, : len(kept)]
    np.testing.assert_allclose((1 - kept) / 2, bits.mean(axis=0), atol=0.02)
    # Detections become more with the cycles, of leakage among others, and the rates are of up to 15.
    assert ((1 - kept) / 2).mean() == pytest.approx(bits.mean(), rel=0.03)


@pytest.mark.skipif(not SYCAMORE.is_dir(), reason="needs Google's Sycamore data in ../shared/data")
@pytest.mark.parametrize(
    ("decoder", "published"), [("belief_matching", 0.0316), ("tensor_network_contraction", 0.0302)]
)
def test_googles_files_have_googles_errors_per_cycle(decoder, published):
    counts = []
    for folder in sorted((SYCAMORE / "d5_5_5").glob("r*")):
        shots = Shots(folder)
        wrong = shots.flips(f"obs_flips_predicted_by_{decoder}.01") != shots.flips("obs_flips_actual.01")
        counts.append(_counted(int(folder.name[1:]), int(wrong.sum()), shots=len(wrong)))
    fit = Cycle.fitted(counts)
    assert fit is not None
    assert fit.error == pytest.approx(published, abs=3 * fit.sigma)
