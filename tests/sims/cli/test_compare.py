"""`qecpipe compare` against counts by hand, with decoders and files of predictions."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import stim
from scipy.stats import binom

from global_decoders import make_decoder
from sims.paired import Comparison

from ..conftest import Refused, RunCli

SHOTS = 5000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A circuit, its DEM, shots, observables, and predictions of nothing."""
    folder = tmp_path_factory.mktemp("compare")
    circuit = stim.Circuit.generated(
        "surface_code:rotated_memory_z", distance=3, rounds=3, after_clifford_depolarization=0.02
    )
    circuit.to_file(folder / "c.stim")
    circuit.detector_error_model(decompose_errors=True).to_file(folder / "c.dem")
    detections, flips = circuit.compile_detector_sampler(seed=4).sample(SHOTS, separate_observables=True)
    n = circuit.num_detectors
    stim.write_shot_data_file(data=detections, path=folder / "s.b8", format="b8", num_detectors=n)
    for name, data in (("obs", flips), ("nothing", np.zeros_like(flips))):
        stim.write_shot_data_file(data=data, path=folder / f"{name}.01", format="01", num_observables=1)
    return folder


def _wrong(folder: Path, name: str) -> np.ndarray:
    dem = stim.DetectorErrorModel.from_file(folder / "c.dem")
    shots = stim.read_shot_data_file(
        path=folder / "s.b8", format="b8", num_detectors=dem.num_detectors, bit_packed=True
    )
    predictions = (
        make_decoder(name)
        .compile_decoder_for_dem(dem=dem)
        .decode_shots_bit_packed(bit_packed_detection_event_data=shots)
    )
    return predictions[:, 0].astype(bool) != _observed(folder)


def _observed(folder: Path) -> np.ndarray:
    return stim.read_shot_data_file(path=folder / "obs.01", format="01", num_observables=1)[:, 0]


def test_counts_are_those_by_hand(folder: Path, run_cli: RunCli) -> None:
    names = ("pymatching", "pymatching-correlated", str(folder / "nothing.01"))
    common = ("--shots", folder / "s.b8", "--obs", folder / "obs.01", "--out", folder / "counts.json")
    code, text, err = run_cli("compare", *names, "--dem", folder / "c.dem", *common)
    assert (code, err) == (0, "")
    plain, correlated = _wrong(folder, names[0]), _wrong(folder, names[1])
    wrong = np.array([plain, correlated, _observed(folder)])
    counts = json.loads((folder / "counts.json").read_text())
    assert counts["decoders"] == list(names)
    assert counts["errors"] == wrong.sum(axis=1).tolist()
    together = {
        "none": (~wrong).all(axis=0).sum(),
        "pymatching": (wrong[0] & ~wrong[1] & ~wrong[2]).sum(),
        "pymatching + pymatching-correlated": (wrong[0] & wrong[1] & ~wrong[2]).sum(),
        " + ".join(names): wrong.all(axis=0).sum(),
    }
    assert {name: counts["wrong_together"].get(name, 0) for name in together} == together
    assert sum(counts["wrong_together"].values()) == counts["judged"] == counts["shots"] == SHOTS
    differing = [[int((a != b).sum()) for b in wrong] for a in wrong]
    assert counts["differing"] == differing
    a, b = int((plain & ~correlated).sum()), int((correlated & ~plain).sum())
    assert min(a, b) > 0
    p_value = min(1.0, 2 * binom.cdf(min(a, b), a + b, 0.5))
    row = next(line for line in text.splitlines() if line.count("pymatching") == 2 and f" {a:,} " in line)
    assert f" {b:,} " in row
    assert f"{b / a:.2f} [" in row
    assert f"{p_value:.2g} " in row
    assert f"all 3 wrong: {wrong.all(axis=0).mean():.4g} [" in text
    assert f"most of them wrong: {(wrong.sum(axis=0) >= 2).mean():.4g} [" in text
    assert f"{100 * (plain == correlated).mean():.3f}" in text


def test_without_observables_only_agreement_is_known(folder: Path, run_cli: RunCli) -> None:
    common = ("--circuit", folder / "c.stim", "--shots", folder / "s.b8")
    code, text, err = run_cli("compare", "pymatching", "fusion-blossom", *common)
    assert (code, err) == (0, "")
    assert "who is right is unknown" in text
    assert "LER" not in text
    assert "100.000" in text


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("pymatching",), "1 decoders were given; compare 2 to 16"),
        (("pymatching", "pymatching"), "pymatching is named twice"),
        (("pymatching", "pymatchin"), "^qecpipe compare: unknown decoder 'pymatchin'"),
        (("pymatching", "short.01"), "short.01 ends after 4999 predictions, and .*s.b8 has more shots"),
        (("pymatching", "long.01"), "s.b8 ends after 5000 shots, and .*long.01 has more predictions"),
        (("pymatching", "wide.01"), "does not hold shots of 1 bits"),
        (("pymatching", "absent.01"), "absent.01: No such file"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    names: tuple[str, ...], message: str, folder: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    lines = Path("obs.01").read_text().splitlines(keepends=True)
    Path("short.01").write_text("".join(lines[:-1]))
    Path("long.01").write_text("".join([*lines, "0\n"]))
    Path("wide.01").write_text("".join(f"0{line}" for line in lines))
    err = refused("compare", *names, "--dem", "c.dem", "--shots", "s.b8", "--obs", "obs.01")
    assert re.search(message, err), err


def test_files_of_another_run_or_circuit_are_named(folder: Path, run_cli: RunCli) -> None:
    other = stim.Circuit.generated("repetition_code:memory", distance=3, rounds=3)
    other.detector_error_model().to_file(folder / "other.dem")
    (folder / "few.01").write_text("0\n" * 100)
    names, shots = ("compare", "pymatching", "fusion-blossom"), ("--shots", folder / "s.b8")
    code, _, err = run_cli(*names, "--dem", folder / "c.dem", *shots, "--obs", folder / "few.01")
    assert code == 2
    assert "one ends after 100 shots and the other does not" in err
    code, _, err = run_cli(*names, "--circuit", folder / "c.stim", "--dem", folder / "other.dem", *shots)
    assert code == 2
    assert "give a model of this circuit" in err


def test_comparisons_add_as_their_shots_do() -> None:
    rng = np.random.default_rng(1)
    predictions = [rng.integers(0, 4, (100, 1), dtype=np.uint8) for _ in range(3)]
    observed, seconds = rng.integers(0, 4, (100, 1), dtype=np.uint8), np.ones(3)
    whole = Comparison.of(("a", "b", "c"), predictions, observed, seconds=2 * seconds)
    parts = [
        Comparison.of(("a", "b", "c"), [p[part] for p in predictions], observed[part], seconds=seconds)
        for part in (slice(0, 30), slice(30, None))
    ]
    total = parts[0] + parts[1]
    assert (total.shots, total.judged) == (100, 100)
    np.testing.assert_array_equal(total.patterns, whole.patterns)
    np.testing.assert_array_equal(total.differing, whole.differing)
    np.testing.assert_array_equal(total.seconds, whole.seconds)
    with pytest.raises(ValueError, match="do not add"):
        _ = total + Comparison.of(("a", "b"), predictions[:2], None, seconds=np.zeros(2))
