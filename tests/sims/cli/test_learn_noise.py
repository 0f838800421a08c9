"""`qecpipe learn-noise`: what it writes is used by the rest of the pipeline, and bad input writes nothing."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import stim

from noise_learning import Moments, SharedParameterModel, fit_shared_parameters
from predecoder.training.tasks import Stream, TaskConfig
from qec import DecodingProblem, depolarizing, memory_circuit, normal_form, write_shots
from sims.shot_files.selection import ShotSelection

from ..conftest import Refused, RunCli

SHOTS = 6001
OUTPUTS = ["drift.png", "lattice.png", "learned.dem", "mechanisms.parquet", "report.md"]


@pytest.fixture(scope="module")
def circuit() -> stim.Circuit:
    """Its stated rates are not those of the shots."""
    return memory_circuit(distance=3, rounds=3, noise=depolarizing(0.005))


@pytest.fixture(scope="module")
def samples() -> tuple[np.ndarray, np.ndarray]:
    device = memory_circuit(distance=3, rounds=3, noise=depolarizing(0.01))
    detections, flips = device.compile_detector_sampler(seed=5).sample(
        SHOTS, separate_observables=True, bit_packed=True
    )
    return detections, flips


@pytest.fixture
def folder(
    tmp_path: Path, circuit: stim.Circuit, samples: tuple[np.ndarray, np.ndarray], monkeypatch
) -> Path:
    circuit.to_file(tmp_path / "c.stim")
    write_shots(tmp_path / "s.b8", samples[0], format="b8", num_detectors=circuit.num_detectors)
    write_shots(tmp_path / "obs.01", samples[1], format="01", num_observables=1)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _learned(folder: Path) -> stim.DetectorErrorModel:
    return stim.DetectorErrorModel.from_file(folder / "learned.dem")


def test_all_outputs_are_written_and_agree(folder: Path, circuit: stim.Circuit, run_cli: RunCli) -> None:
    code, text, err = run_cli("learn-noise", "--circuit", "c.stim", "--shots", "s.b8", "--out", "new/out")
    assert (code, err) == (0, "")
    out = folder / "new" / "out"
    assert sorted(p.name for p in out.iterdir()) == OUTPUTS
    assert sorted(p.name for p in folder.iterdir()) == ["c.stim", "new", "obs.01", "s.b8"]
    assert all((out / name).read_bytes().startswith(b"\x89PNG") for name in OUTPUTS[:2])
    assert "6,001 shots" in text
    assert "estimator shared-parameters" in text
    frame = pl.read_parquet(out / "mechanisms.parquet")
    dem = _learned(out)
    rates = normal_form(dem).tables.probabilities
    np.testing.assert_allclose(frame["p"], rates)
    assert rates.sum() == pytest.approx(2 * frame["prior"].sum(), rel=0.1)
    report = (out / "report.md").read_text()
    assert all(name in report for name in OUTPUTS[:2])
    assert "shared-parameters (asked for: auto)" in report
    assert f"{dem.num_detectors} detectors" in report


def test_tables_are_of_what_shots_say_whatever_is_written_of_it(
    folder: Path, circuit: stim.Circuit, run_cli: RunCli
) -> None:
    """Neither a floor nor the circuit's own rates are drift, or a deviation; the notes tell of both."""
    reports, learned = [], []
    for out, flags in (("without", ()), ("with", ("--prior", 0.3, "--floor", 0.2))):
        code, _, err = run_cli("learn-noise", "--circuit", "c.stim", "--shots", "s.b8", *flags, "--out", out)
        assert (code, err) == (0, "")
        reports.append((folder / out / "report.md").read_text())
        learned.append(pl.read_parquet(folder / out / "mechanisms.parquet"))
    said = [note in reports[1] for note in ("learned^0.7 x circuit^0.3", "were raised to 0.2")]
    assert said == [True, True]
    assert "before that; learned.dem and mechanisms.parquet have it" in reports[1]
    assert reports[0] == "".join(
        line
        for line in reports[1].splitlines(keepends=True)
        if not line.startswith(
            (
                "- probabilities of mechanisms are learned",
                "- 24 mechanisms that flip",
                "- tables and pictures",
            )
        )
    )
    alone = learned[0]["detectors"].list.len() == 1  # a floor is what the file keeps, so it comes last
    mean = learned[0]["p"] ** 0.7 * learned[0]["prior"] ** 0.3
    np.testing.assert_allclose(learned[1]["p"], np.where(alone & (mean < 0.2), 0.2, mean))
    np.testing.assert_allclose(normal_form(_learned(folder / "with")).tables.probabilities, learned[1]["p"])


def test_files_add_and_halves_are_what_was_asked_for(
    folder: Path, circuit: stim.Circuit, samples: tuple[np.ndarray, np.ndarray], run_cli: RunCli
) -> None:
    """Two files of different formats hold the shots that one file holds; indices run through both."""
    model = SharedParameterModel.of_circuit(circuit)
    count = circuit.num_detectors
    write_shots("a.dets", samples[0][:1001], format="dets", num_detectors=count)
    write_shots("b.01", samples[0][1001:], format="01", num_detectors=count)
    for flags, chosen in (
        ((), slice(None)),
        (("--which", "odd"), slice(1, None, 2)),
        (("--which", "even", "--start", "3", "--stop", "2001"), slice(4, 2001, 2)),
    ):
        out = folder / "-".join(("out", *flags))
        command = (
            "learn-noise",
            "--circuit",
            "c.stim",
            "--shots",
            "a.dets",
            "b.01",
            "--estimator",
            "shared-parameters",
        )
        code, _, err = run_cli(*command, *flags, "--out", out)
        assert (code, err) == (0, "")
        expected = fit_shared_parameters(
            Moments.from_shots(model.structure.subsets, samples[0][chosen]), model
        )
        learned = pl.read_parquet(out / "mechanisms.parquet")["p"]
        np.testing.assert_allclose(learned, expected.p, rtol=1e-5)  # a circuit's file rounds its rates


def test_measurements_give_the_same_as_detections(folder: Path, run_cli: RunCli) -> None:
    device = memory_circuit(distance=3, rounds=3, noise=depolarizing(0.01))
    measurements = device.compile_sampler(seed=2).sample(2000)
    detections, _ = device.compile_m2d_converter().convert(
        measurements=measurements, separate_observables=True
    )
    stim.write_shot_data_file(
        data=measurements, path="m.b8", format="b8", num_measurements=device.num_measurements
    )
    stim.write_shot_data_file(data=detections, path="d.b8", format="b8", num_detectors=device.num_detectors)
    common = ("learn-noise", "--circuit", "c.stim", "--estimator", "closed-form")
    assert run_cli(*common, "--shots", "m.b8", "--measurements", "--out", "m")[0] == 0
    assert run_cli(*common, "--shots", "d.b8", "--out", "d")[0] == 0
    assert Path("m/learned.dem").read_text() == Path("d/learned.dem").read_text()


def test_a_learned_model_lays_out_trains_and_decodes(
    folder: Path, circuit: stim.Circuit, samples: tuple[np.ndarray, np.ndarray], run_cli: RunCli
) -> None:
    assert run_cli("learn-noise", "--circuit", "c.stim", "--shots", "s.b8", "--out", "out")[0] == 0
    _check_round_trip(Path("out/learned.dem"), circuit)
    code, text, _ = run_cli(
        *("decode", "--shots", "s.b8", "--obs", "obs.01", "--dem", "out/learned.dem"),
        *("--decoder", "pymatching-correlated"),
    )
    assert code == 0
    wrong = int(re.search(r"\((\d[\d,]*) of 6,001", text)[1].replace(",", ""))  # type: ignore[index]
    assert 0 < wrong < 0.7 * np.unpackbits(samples[1]).sum()


def _check_round_trip(path: Path, circuit: stim.Circuit) -> None:
    """The file gives the circuit's layout, and labelled batches whose syndromes are the model's."""
    dem = stim.DetectorErrorModel.from_file(path)
    learned = DecodingProblem.from_dem(dem).layout
    given = DecodingProblem.from_circuit(circuit).layout
    np.testing.assert_array_equal(learned.voxels, given.voxels)
    np.testing.assert_array_equal(learned.observable_masks, given.observable_masks)
    stream = Stream(TaskConfig(dem=str(path)), "x", "XV", rounds=1)
    assert stream.dem == dem
    from predecoder.training.labels import SampledLabels, TeacherLabels

    for kind in (SampledLabels, TeacherLabels):
        packed, labels, _ = kind(stream.problem).sample(200, seed=1)
        detections = np.unpackbits(packed, axis=1, count=dem.num_detectors, bitorder="little")
        seen = (stream.problem.moves.matrix.astype(np.int64) @ labels.T) % 2
        np.testing.assert_array_equal(seen.T, detections)
        assert 0.02 < detections.mean() < 0.3


@pytest.mark.slow
def test_google_halves_learn_decode_and_lay_out(sycamore: Path, tmp_path: Path, run_cli: RunCli) -> None:
    """Learned on even shots, from raw measurements or detections; odd ones decode better than before."""
    data = sycamore / "r05"
    common = ("learn-noise", "--circuit", data / "circuit_noisy.stim", "--which", "even")
    from_detections = (*common, "--shots", data / "detection_events.b8", "--out", tmp_path / "d")
    from_measurements = (
        *(*common, "--shots", data / "measurements.b8", "--measurements"),
        *("--sweep", data / "sweep.b8", "--out", tmp_path / "m"),
    )
    for command in (from_detections, from_measurements):
        code, text, err = run_cli(*command)
        assert (code, err) == (0, "")
        assert "25,000 shots" in text
    assert (tmp_path / "d" / "learned.dem").read_text() == (tmp_path / "m" / "learned.dem").read_text()
    circuit = stim.Circuit.from_file(data / "circuit_noisy.stim")
    _check_round_trip(tmp_path / "d" / "learned.dem", circuit)
    shots = np.fromfile(data / "detection_events.b8", dtype=np.uint8).reshape(50_000, -1)
    observed = (data / "obs_flips_actual.01").read_text().splitlines(keepends=True)
    (tmp_path / "odd.b8").write_bytes(shots[1::2].tobytes())
    (tmp_path / "odd.01").write_text("".join(observed[1::2]))
    rates = []
    for dem in (tmp_path / "d" / "learned.dem", data / "circuit_detector_error_model.dem"):
        _, text, _ = run_cli(
            *("decode", "--shots", tmp_path / "odd.b8", "--obs", tmp_path / "odd.01", "--dem", dem),
            *("--decoder", "pymatching-correlated"),
        )
        rates.append(float(re.search(r"LER (0\.\d+)", text)[1]))  # type: ignore[index]
    assert rates[0] < 0.99 * rates[1]


def test_help_names_every_flag(capsys: pytest.CaptureFixture[str], run_cli: RunCli) -> None:
    with pytest.raises(SystemExit) as stop:
        run_cli("learn-noise", "--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for flag in ("--circuit", "--shots", "--format", "--measurements", "--sweep", "--which", "--estimator"):
        assert flag in text


@pytest.mark.parametrize(
    ("change", "flags", "named"),
    [
        ("none", ("--circuit", "absent.stim"), "absent.stim: No such file"),
        ("none", ("--shots", "absent.b8"), "absent.b8: No such file"),
        ("none", ("--stop", "0"), "shots from 0 up to, not including, 0 are none"),
        ("none", ("--start", "-3"), "start=-3 is before the first shot"),
        ("none", ("--start", "6001"), "no shot of the files is selected (all shots from 6001)"),
        ("none", ("--sweep", "s.b8"), "s.b8"),
        ("none", ("--sweep", "s.b8", "s.b8"), "2 files of --sweep for 1 of --shots"),
        ("none", ("--measurements",), "does not hold shots"),
        ("none", ("--out", "c.stim"), "--out c.stim is a file"),
        ("none", ("--stop", "1"), "s.b8: too few shots to learn from, 1: "),
        ("short", (), "s.b8"),
        ("empty", (), "no shot of the files is selected (all shots)"),
        ("second-short", ("--shots", "t.b8", "s.b8"), "s.b8"),
        ("no-suffix", ("--shots", "s"), "--format"),
        ("not-stim", (), "c.stim is not a Stim circuit"),
        ("no-noise", (), "c.stim: the circuit has no noise"),
        ("no-noise", ("--estimator", "closed-form"), "c.stim: "),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_file(
    change: str, flags: tuple[str, ...], named: str, folder: Path, circuit: stim.Circuit, refused: Refused
) -> None:
    shots = Path("s.b8")
    if change == "short":
        shots.write_bytes(shots.read_bytes()[:-1])
    elif change == "second-short":
        Path("t.b8").write_bytes(shots.read_bytes())
        shots.write_bytes(shots.read_bytes()[:-1])
    elif change == "empty":
        shots.write_bytes(b"")
    elif change == "no-suffix":
        shots.rename("s")
    elif change == "not-stim":
        Path("c.stim").write_text("SURFACE 3\n")
    elif change == "no-noise":
        circuit.without_noise().to_file("c.stim")
    before = sorted(folder.rglob("*"))
    given = dict(zip(flags[::2], flags[1::2], strict=False))
    command = ["learn-noise", *flags]
    for flag, value in (("--circuit", "c.stim"), ("--shots", "s.b8"), ("--out", "out")):
        command += [] if flag in given else [flag, value]
    err = refused(*command)
    assert named in err
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("flags", [("--estimator", "best"), ("--format", "b9"), ("--share", "time")])
def test_unknown_choices_are_usage_errors(flags: tuple[str, str], folder: Path, run_cli: RunCli) -> None:
    with pytest.raises(SystemExit) as stop:
        run_cli("learn-noise", "--circuit", "c.stim", "--shots", "s.b8", "--out", "out", *flags)
    assert stop.value.code == 2


def test_an_error_leaves_earlier_results_alone(folder: Path, run_cli: RunCli) -> None:
    """A run that fails while it writes changes nothing; one that succeeds replaces what it wrote before."""
    out = folder / "out"
    out.mkdir()
    (out / "report.md").write_text("earlier")
    (out / "notes.txt").write_text("mine")
    (folder / "s.b8").write_bytes(b"x")
    assert run_cli("learn-noise", "--circuit", "c.stim", "--shots", "s.b8", "--out", out)[0] == 2
    assert sorted(p.name for p in out.iterdir()) == ["notes.txt", "report.md"]
    assert (out / "report.md").read_text() == "earlier"


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        (ShotSelection(), "all shots"),
        (ShotSelection("odd", 10), "odd shots from 10"),
        (ShotSelection("even", 0, 7), "even shots from 0 to 6"),
    ],
)
def test_a_selection_takes_the_same_rows_however_they_are_cut(selection: ShotSelection, words: str) -> None:
    rows = np.arange(40, dtype=np.uint8)[:, None]
    start, stop = selection.start, 40 if selection.stop is None else selection.stop
    expected = [
        k for k in range(start, stop) if selection.which == "all" or k % 2 == (selection.which == "odd")
    ]
    for cuts in ([], [1, 2, 9], [13, 26]):
        taken = np.concatenate(list(selection.of(np.split(rows, cuts))))
        assert taken.ravel().tolist() == expected
    assert str(selection) == words
