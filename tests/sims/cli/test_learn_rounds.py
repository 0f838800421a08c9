"""`qecpipe learn-noise --data`: one patch at several numbers of rounds, a DEM for every one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import stim

from noise_learning import LearningData, Moments, Structure, fit_stationary_jointly
from qec import Basis, depolarizing, memory_circuit, normal_form, read_shots, write_shots

from ..conftest import RunCli

SHOTS = 3001


def _record(folder: Path, *, rounds: int, distance: int = 3, seed: int = 0, basis: Basis = "x") -> None:
    folder.mkdir()
    guess = memory_circuit(distance=distance, rounds=rounds, noise=depolarizing(0.005), basis=basis)
    guess.to_file(folder / "circuit_noisy.stim")
    device = memory_circuit(distance=distance, rounds=rounds, noise=depolarizing(0.01), basis=basis)
    shots = device.compile_detector_sampler(seed=seed).sample(SHOTS, bit_packed=True)
    write_shots(folder / "detection_events.b8", shots, format="b8", num_detectors=device.num_detectors)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, rounds in (("a", 5), ("b", 7), ("c", 5)):
        _record(tmp_path / name, rounds=rounds, seed=ord(name))
    return tmp_path


def test_every_number_of_rounds_has_a_dem(folder: Path, run_cli: RunCli) -> None:
    code, text, err = run_cli(
        *("learn-noise", "--data", "a", "b", "c", "--which", "even", "--rounds", "9", "5", "3"),
        *("--out", "out"),
    )
    assert (code, err) == (0, "")
    assert f"{3 * (SHOTS // 2 + 1):,} shots of 2 numbers of rounds" in text
    assert sorted(path.name for path in Path("out").iterdir()) == [
        *("mechanisms.parquet", "r03.dem", "r05.dem", "r07.dem", "r09.dem", "report.md")
    ]
    frame = pl.read_parquet("out/mechanisms.parquet")
    for rounds in (3, 5, 7, 9):
        dem = stim.DetectorErrorModel.from_file(f"out/r{rounds:02}.dem")
        true = memory_circuit(distance=3, rounds=rounds, noise=depolarizing(0.01)).detector_error_model(
            decompose_errors=True
        )
        assert dem.num_detectors == true.num_detectors
        learned, expected = (normal_form(one).tables.probabilities.sum() for one in (dem, true))
        assert learned == pytest.approx(expected, rel=0.1)
        np.testing.assert_allclose(
            frame.filter(pl.col("rounds") == rounds)["p"], normal_form(dem).tables.probabilities
        )
    report = Path("out/report.md").read_text()
    assert "| 5 | a, c | 3,002 |" in report
    assert "| 9 | r09.dem |" in report
    assert "Change from round to round" in report


def test_a_floor_is_of_errors_that_flip_one_detector(folder: Path, run_cli: RunCli) -> None:
    """A prior is of all, and of rounds that were not measured too."""
    common = ("learn-noise", "--data", "a", "b", "--rounds", "9")
    for out, flags in (("out", ()), ("floored", ("--floor", 0.03)), ("drawn", ("--prior", 0.5))):
        code, _, err = run_cli(*common, *flags, "--out", out)
        assert (code, err) == (0, "")
    without, drawn = (pl.read_parquet(f"{out}/mechanisms.parquet") for out in ("out", "drawn"))
    assert without["rounds"].unique().to_list() == [5, 7, 9]
    np.testing.assert_allclose(drawn["p"], np.sqrt(without["p"] * without["prior"]))
    assert "learned^0.5 x circuit^0.5" in Path("drawn/report.md").read_text()
    for rounds in (5, 7, 9):
        without, with_floor = (
            normal_form(stim.DetectorErrorModel.from_file(f"{out}/r{rounds:02}.dem")).hyperedges
            for out in ("out", "floored")
        )
        alone = np.array([len(detectors) == 1 for detectors in without.detectors])
        expected = np.where(alone, np.maximum(without.probabilities, 0.03), without.probabilities)
        assert (expected > without.probabilities).any()
        np.testing.assert_allclose(with_floor.probabilities, expected)
    code, _, err = run_cli(*common, "--floor", 0.5, "--out", "no")
    assert (code, "--floor 0.5 is no probability from 0 to below 1/2" in err) == (2, True)
    code, _, err = run_cli(*common, "--prior", 1.5, "--out", "no")
    assert (code, "--prior 1.5 is no share from 0 (what shots say) to 1 (the circuit)" in err) == (2, True)


def test_folders_of_equal_rounds_add_and_rates_are_shared(folder: Path, run_cli: RunCli) -> None:
    assert run_cli("learn-noise", "--data", "b", "a", "c", "--out", "out")[0] == 0
    data = []
    for names in ("ac", "b"):
        circuit = stim.Circuit.from_file(folder / names[0] / "circuit_noisy.stim")
        structure = Structure.from_circuit(circuit).simplified()
        shots = [
            read_shots(
                folder / name / "detection_events.b8", format="b8", num_detectors=circuit.num_detectors
            )
            for name in names
        ]
        data.append(LearningData.of(Moments.from_shots(structure.subsets, shots), structure))
    frame = pl.read_parquet("out/mechanisms.parquet")
    for rounds, fit in zip((5, 7), fit_stationary_jointly(data).fits, strict=True):
        np.testing.assert_array_equal(frame.filter(pl.col("rounds") == rounds)["p"], fit.p)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--data", "absent"), "--data absent is no folder; give folders of circuit_noisy.stim, detection_"),
        (("--data", "a", "--shots", "s.b8"), "--shots has no meaning with --data"),
        (("--data", "a", "--estimator", "hybrid"), "--estimator has no meaning with --data"),
        (("--data", "a", "--rounds", "0"), "--rounds 0 is no number of rounds"),
        (("--data", "a", "--rounds", "2"), "a/circuit_noisy.stim: 5 rounds say what mechanisms 3 and more"),
        (("--data", "a", "z"), "--data a and z have 5 rounds each and other circuits"),
        (("--data", "a", "d5"), "--data a and d5 are not of one patch"),
        (("--data", "a", "short"), "short/detection_events.b8"),
        (("--data", "a", "--start", "3001"), "no shot of the files is selected"),
        (("--rounds", "5"), "--rounds needs --data"),
        ((), "give --circuit and --shots, or folders of both by --data"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_file(
    flags: tuple[str, ...], named: str, folder: Path, run_cli: RunCli
) -> None:
    if "z" in flags:
        _record(folder / "z", rounds=5, basis="z")
    if "d5" in flags:
        _record(folder / "d5", rounds=2, distance=5)
    if "short" in flags:
        _record(folder / "short", rounds=4)
        events = folder / "short" / "detection_events.b8"
        events.write_bytes(events.read_bytes()[:-1])
    code, _, err = run_cli("learn-noise", *flags, "--out", "out")
    assert code == 2
    assert named in err
    assert len(err.splitlines()) == 1
    assert not (folder / "out").exists()
