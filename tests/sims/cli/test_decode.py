"""`qecpipe decode` against Stim, PyMatching, and Google's files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pymatching
import pytest
import stim

from global_decoders import decode_with_gap, make_decoder
from qec import normal_form
from qec.shots import ShotFormat

from ..conftest import Refused, RunCli

FORMATS: tuple[ShotFormat, ...] = ("01", "b8", "dets", "hits", "r8")


@pytest.fixture(scope="module")
def circuit() -> stim.Circuit:
    return stim.Circuit.generated(
        "surface_code:rotated_memory_z", distance=3, rounds=4, after_clifford_depolarization=0.02
    )


@pytest.fixture
def run_folder(tmp_path: Path, circuit: stim.Circuit) -> Path:
    """A circuit, 5,000 shots in every format, their observables and their measurements."""
    circuit.to_file(tmp_path / "c.stim")
    measurements = circuit.compile_sampler(seed=3).sample(5000)
    detections, flips = circuit.compile_m2d_converter().convert(
        measurements=measurements, separate_observables=True
    )
    for name in FORMATS:
        stim.write_shot_data_file(
            data=detections,
            path=tmp_path / f"shots.{name}",
            format=name,
            num_detectors=circuit.num_detectors,
        )
    stim.write_shot_data_file(
        data=measurements,
        path=tmp_path / "m.b8",
        format="b8",
        num_measurements=circuit.num_measurements,
    )
    stim.write_shot_data_file(
        data=flips, path=tmp_path / "obs.01", format="01", num_observables=circuit.num_observables
    )
    return tmp_path


def _expected(circuit: stim.Circuit, folder: Path) -> np.ndarray:
    shots = stim.read_shot_data_file(
        path=folder / "shots.b8", format="b8", num_detectors=circuit.num_detectors
    )
    dem = normal_form(circuit.detector_error_model(decompose_errors=True)).dem
    return pymatching.Matching.from_detector_error_model(dem).decode_batch(shots)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_pymatchings_predictions(
    name: str, run_folder: Path, circuit: stim.Circuit, run_cli: RunCli
) -> None:
    out = run_folder / "predictions.01"
    code, text, err = run_cli(
        *("decode", "--circuit", run_folder / "c.stim", "--shots", run_folder / f"shots.{name}", "--out", out)
    )
    assert (code, err) == (0, "")
    assert "5,000 shots decoded with pymatching" in text
    assert "LER" not in text
    predictions = stim.read_shot_data_file(path=out, format="01", num_observables=1)
    np.testing.assert_array_equal(predictions, _expected(circuit, run_folder))


def test_measurements_and_observable_files_give_the_same_counts(
    run_folder: Path, circuit: stim.Circuit, run_cli: RunCli
) -> None:
    common = ("decode", "--circuit", run_folder / "c.stim", "--versus", "pymatching-correlated")
    _, from_measurements, _ = run_cli(*common, "--measurements", "--shots", run_folder / "m.b8")
    _, from_detections, _ = run_cli(
        *common, "--shots", run_folder / "shots.b8", "--obs", run_folder / "obs.01"
    )
    assert from_measurements == from_detections
    observed = stim.read_shot_data_file(path=run_folder / "obs.01", format="01", num_observables=1)
    wrong = (_expected(circuit, run_folder) != observed).any(axis=1)
    nothing = observed.any(axis=1)
    assert f"({wrong.sum():,} of 5,000, 95% Clopper-Pearson)" in from_detections
    assert (
        f"only no decoding wrong: {(nothing & ~wrong).sum():,} shots; "
        f"only pymatching wrong: {(wrong & ~nothing).sum():,}"
    ) in from_detections
    assert "pymatching-correlated: LER" in from_detections


@pytest.mark.parametrize("name", FORMATS)
def test_observables_that_follow_the_detections_give_the_same_counts(
    name: ShotFormat, run_folder: Path, circuit: stim.Circuit, run_cli: RunCli
) -> None:
    common = ("decode", "--circuit", run_folder / "c.stim", "--versus", "pymatching-correlated")
    _, apart, _ = run_cli(*common, "--shots", run_folder / "shots.b8", "--obs", run_folder / "obs.01")
    detections = stim.read_shot_data_file(
        path=run_folder / "shots.b8", format="b8", num_detectors=circuit.num_detectors
    )
    observed = stim.read_shot_data_file(path=run_folder / "obs.01", format="01", num_observables=1)
    together = run_folder / f"together.{name}"
    stim.write_shot_data_file(
        data=np.concatenate([detections, observed], axis=1),
        path=together,
        format=name,
        num_detectors=circuit.num_detectors,
        num_observables=1,
    )
    code, text, err = run_cli(*common, "--shots", together, "--append-observables")
    assert (code, err) == (0, "")
    assert text == apart


@pytest.mark.parametrize("other", [["--measurements"], ["--obs", "obs.01"]])
def test_observables_from_two_places_are_refused(
    other: list[str], run_folder: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run_folder)
    code, _, err = run_cli(
        *("decode", "--circuit", run_folder / "c.stim", "--shots", run_folder / "shots.b8"),
        *("--append-observables", *other),
    )
    assert code == 2
    assert "--append-observables" in err


def test_a_model_given_by_file_is_used(run_folder: Path, circuit: stim.Circuit, run_cli: RunCli) -> None:
    """The circuit's own model in a file changes nothing; one that knows no observable never predicts it."""
    model = circuit.detector_error_model(decompose_errors=True)
    (run_folder / "same.dem").write_text(str(model))
    shots = ("--shots", run_folder / "shots.b8", "--obs", run_folder / "obs.01")
    _, with_circuit, _ = run_cli("decode", "--circuit", run_folder / "c.stim", *shots)
    _, with_model, _ = run_cli("decode", "--dem", run_folder / "same.dem", *shots)
    assert with_circuit == with_model
    blind = re.sub(r" L0", "", str(model)) + "\nlogical_observable L0\n"
    (run_folder / "blind.dem").write_text(blind)
    _, without_logical, _ = run_cli("decode", "--dem", run_folder / "blind.dem", *shots)
    assert "only no decoding wrong: 0 shots; only pymatching wrong: 0" in without_logical


@pytest.mark.slow
@pytest.mark.parametrize("rounds", ["r05", "r11"])
def test_google_measurements_are_decoded_as_well_as_google_did(
    rounds: str, sycamore: Path, tmp_path: Path, run_cli: RunCli
) -> None:
    """Google let PyMatching read the DEM; ours has it in normal form, so some predictions differ.

    The reference for every shot is PyMatching on that form and on Google's own detection events.
    """
    data, out = sycamore / rounds, tmp_path / "predictions.01"
    code, text, _ = run_cli(
        *("decode", "--circuit", data / "circuit_noisy.stim", "--shots", data / "measurements.b8"),
        *("--measurements", "--sweep", data / "sweep.b8", "--obs", data / "obs_flips_actual.01"),
        *("--out", out),
    )
    assert code == 0
    actual, googles, ours = (
        np.array(path.read_text().split())
        for path in (data / "obs_flips_actual.01", data / "obs_flips_predicted_by_pymatching.01", out)
    )
    dem = stim.Circuit.from_file(data / "circuit_noisy.stim").detector_error_model(
        decompose_errors=True, approximate_disjoint_errors=True
    )
    events = stim.read_shot_data_file(
        path=data / "detection_events.b8", format="b8", num_detectors=dem.num_detectors
    )
    expected = pymatching.Matching.from_detector_error_model(normal_form(dem).dem).decode_batch(events)
    np.testing.assert_array_equal(ours.astype(np.uint8), expected[:, 0])
    assert (ours != actual).sum() <= 1.005 * (googles != actual).sum()
    assert f"({(ours != actual).sum():,} of 50,000, " in text


COLOR_CODE = stim.Circuit.generated(
    "color_code:memory_xyz", distance=5, rounds=5, after_clifford_depolarization=0.01
)


@pytest.mark.parametrize(
    ("change", "flags", "named"),
    [
        ("short", (), "shots.b8"),
        ("none", ("--format", "b9"), None),
        ("none", ("--decoder", "pymatchng"), "'pymatchng'"),
        ("none", ("--sweep", "s.b8"), "s.b8"),
        ("none", ("--obs", "obs.01", "--dem", "absent.dem"), "absent.dem"),
        ("more-observables", ("--obs", "obs.01"), "obs.01"),
        ("color", (), "D0 D2 D4"),
        ("color", ("--decoder", "predecoder+pymatching"), "D0 D2 D4"),
        ("no-coordinates", ("--decoder", "predecoder+pymatching"), "coordinates"),
        ("no-coordinates", ("--decoder", "predecoder+pymatching"), "--decoder pymatching"),
        ("none", ("--dem", "c.stim"), "c.stim is not a Stim detector error model"),
        ("no-observables", (), "0 observables"),
        ("no-detectors", (), "0 detectors"),
        ("not-stim", (), "c.stim is not a Stim circuit"),
        ("empty", (), "empty"),
        ("no-suffix", (), "--format"),
        ("other-dem", ("--dem", "other.dem"), "other.dem has 1 detectors"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_file(
    change: str,
    flags: tuple[str, ...],
    named: str | None,
    run_folder: Path,
    circuit: stim.Circuit,
    two_weights: tuple[Path, Path],
    run_cli: RunCli,
    refused: Refused,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(run_folder)
    shots = Path("shots.b8")
    if change == "short":
        shots.write_bytes(shots.read_bytes()[:-1])
    elif change == "empty":
        shots.write_bytes(b"")
    elif change == "no-suffix":
        shots = shots.rename("shots")
    elif change == "color":
        COLOR_CODE.to_file("c.stim")
        shots.write_bytes(bytes(10 * -(-COLOR_CODE.num_detectors // 8)))
    elif change == "no-coordinates":
        Path("c.stim").write_text(re.sub(r"DETECTOR\([^)]*\)", "DETECTOR", str(circuit)))
    elif change == "no-observables":
        Path("c.stim").write_text(re.sub(r"OBSERVABLE_INCLUDE.*", "", str(circuit)))
    elif change == "no-detectors":
        Path("c.stim").write_text(re.sub(r"(DETECTOR|SHIFT_COORDS).*", "", str(circuit)))
    elif change == "not-stim":
        Path("c.stim").write_text("SURFACE 3\n")
    elif change == "more-observables":
        Path("obs.01").write_text("0\n" * 5001)
    Path("other.dem").write_text("error(0.1) D0 L0\n")
    command = ("decode", "--circuit", "c.stim", "--shots", shots, "--out", "out.01", *flags)
    if named is None:
        with pytest.raises(SystemExit) as stop:
            run_cli(*command)
        assert stop.value.code == 2
    else:
        err = refused(*command, "--weights", two_weights[0])
        assert named in err
    assert not list(run_folder.glob("*out*"))


@pytest.mark.parametrize("suffix", ["npy", "csv"])
def test_confidence_is_a_gap_for_every_shot_and_observable(
    suffix: str, run_folder: Path, circuit: stim.Circuit, run_cli: RunCli
) -> None:
    common = ("decode", "--circuit", run_folder / "c.stim", "--shots", run_folder / "shots.b8")
    gaps, out = run_folder / f"gaps.{suffix}", run_folder / "predictions.01"
    code, text, err = run_cli(*common, "--obs", run_folder / "obs.01", "--confidence", gaps, "--out", out)
    assert (code, err) == (0, "")
    found = np.load(gaps) if suffix == "npy" else np.loadtxt(gaps, delimiter=",", skiprows=1, ndmin=2)
    assert found.shape == (5000, 1)
    shots = stim.read_shot_data_file(
        path=run_folder / "shots.b8", format="b8", num_detectors=circuit.num_detectors, bit_packed=True
    )
    decoder = make_decoder("pymatching").compile_decoder_for_dem(
        dem=circuit.detector_error_model(decompose_errors=True)
    )
    predictions, gap = decode_with_gap(decoder, shots)
    np.testing.assert_array_equal(found.astype(np.float32), gap)
    written = stim.read_shot_data_file(path=out, format="01", num_observables=1)
    np.testing.assert_array_equal(written[:, 0], predictions[:, 0])
    expected = float((1 / (1 + np.exp(gap.astype(float)))).mean())
    assert f"confidence: {gaps}\nLER if the gaps are right: {expected:.4g}" in text
    observed = stim.read_shot_data_file(path=run_folder / "obs.01", format="01", num_observables=1)
    assert expected == pytest.approx((written != observed).mean(), rel=0.35)


def test_calibrated_confidence_is_on_a_line_and_predictions_stay(
    run_folder: Path, circuit: stim.Circuit, run_cli: RunCli
) -> None:
    common = ("decode", "--circuit", run_folder / "c.stim", "--shots", run_folder / "shots.b8")
    runs = {}
    for name, flags in (("raw", ()), ("line", ("--calibrate", "4000"))):
        gaps, out = run_folder / f"{name}.npy", run_folder / f"{name}.01"
        code, text, err = run_cli(*common, "--confidence", gaps, "--out", out, *flags)
        assert (code, err) == (0, "")
        runs[name] = np.load(gaps), out.read_text(), text
    assert runs["raw"][1] == runs["line"][1]
    line = r"log-odds of observable 0: (\S+) gap ([+-]) (\S+) \(\d+ errors of 4,000 simulated shots\)"
    found = re.search(line, runs["line"][2])
    assert found is not None
    slope, offset = float(found[1]), float(found[2] + found[3])
    np.testing.assert_allclose(runs["line"][0], slope * runs["raw"][0] + offset, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(
    "command", [("decode", "--decoder", "pymatching"), ("decode", "--decoder", "trellis"), ("compare",)]
)
def test_a_shot_that_nothing_explains_has_its_number_in_the_file(
    command: tuple[str, ...], tmp_path: Path, refused: Refused
) -> None:
    """Not that in the chunk of 4,096 shots which it is decoded in."""
    dem = stim.DetectorErrorModel("error(0.1) D0 L0\nerror(0.02) D1 D2")
    dem.to_file(tmp_path / "c.dem")
    shots = np.zeros((5000, 3), dtype=np.bool_)
    shots[4500, 1] = True
    stim.write_shot_data_file(data=shots, path=tmp_path / "s.b8", format="b8", num_detectors=3)
    names = ("pymatching", "trellis") if command == ("compare",) else ()
    err = refused(*command, *names, "--dem", tmp_path / "c.dem", "--shots", tmp_path / "s.b8")
    assert "s.b8: shot 4500: no " in err
    assert "give a DEM with noise there" in err


def test_confidence_that_cannot_be_given_is_refused(run_folder: Path, run_cli: RunCli) -> None:
    common = ("decode", "--circuit", run_folder / "c.stim", "--shots", run_folder / "shots.b8")
    code, _, err = run_cli(*common, "--confidence", run_folder / "gaps.txt")
    assert code == 2
    assert "is not .npy or .csv; give one of them" in err
    code, _, err = run_cli(*common, "--decoder", "relay-bp", "--confidence", run_folder / "g.npy")
    assert code == 2
    assert re.search(r"--confidence with --decoder relay-bp: \w+ does not say how sure it is; decoders", err)
    assert not (run_folder / "g.npy").exists()
    code, _, err = run_cli(*common, "--calibrate", "100")
    assert code == 2
    assert "--calibrate changes nothing but gaps; add --confidence FILE" in err
    code, _, err = run_cli(*common, "--confidence", run_folder / "g.npy", "--calibrate", "0")
    assert code == 2
    assert "--calibrate 0 is no number of shots" in err
    code, _, err = run_cli(
        *common, "--out", run_folder / "p.npy", *("--out-format", "01"), "--confidence", run_folder / "p.npy"
    )
    assert code == 2
    assert "would be lost" in err
    (run_folder / "cut.b8").write_bytes((run_folder / "shots.b8").read_bytes()[:-1])
    code, _, err = run_cli(*common[:-1], run_folder / "cut.b8", "--confidence", run_folder / "g.npy")
    assert code == 2
    assert not (run_folder / "g.npy").exists()
