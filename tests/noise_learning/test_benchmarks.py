"""The benchmarks that measure tables: what they wrote is found again, and prose around tables is kept."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from noise_learning import Moments, NoiseFit, SharedParameterModel
from qec import depolarizing, memory_circuit
from scripts.benchmarks.drift import table as drift
from scripts.benchmarks.noise_learning import report
from scripts.benchmarks.noise_learning import table as noise
from scripts.benchmarks.results import with_table


def _row(errors: int, **changes) -> report.Row:
    fields = {
        **{
            "part": "shared",
            "variant": "uniform",
            "seed": 1,
            "estimator": "shared parameters",
            "shots": 1000,
        },
        **{"decoder": "pymatching", "test_shots": 10_000, "errors_reference": 100, "notes": "{}"},
        **{"only_fit": 3, "only_reference": 5},
    }
    return report.Row(errors=errors, **(fields | changes))


def test_errors_are_the_larger_of_scatter_and_counts() -> None:
    summary = report.Summary.of([_row(110), _row(90, seed=2)])
    assert summary.mean == pytest.approx(1.0)
    assert summary.two_errors == pytest.approx(2 * 0.1)  # 0.1414 over the square root of two seeds
    alone = report.Summary.of([_row(110)])
    assert alone.two_errors == pytest.approx(2 * 3 / 100)  # root of 3 + 5 discordant shots, and one more
    assert alone.upper == pytest.approx(1.16)


def test_test_sets_without_errors_are_no_result_and_no_crash() -> None:
    none = _row(0, errors_reference=0, only_fit=0, only_reference=0)
    some = _row(110, seed=2)
    together = report.Summary.of([none, some])
    assert together.mean == pytest.approx(1.1)
    assert together.two_errors == pytest.approx(2 * 3 / 100)
    (text,) = report.tables([none])
    assert "no errors" in text
    assert "| nan |" in text
    assert "| met |" not in text


def test_a_table_takes_the_place_of_the_old_one_only() -> None:
    simulated = [_row(100, only_fit=0, only_reference=0)]
    device = [_row(99, part="device", variant="r05 matching", estimator="learned")]
    text = "# Title\n\nBefore.\n"
    for table in report.tables(simulated + device):
        text = with_table(text, table)
    assert text.startswith("# Title\n\nBefore.\n\n| part |")
    assert "\n\n| data |" in text
    (worse,) = report.tables([_row(110)])
    replaced = with_table(text, worse)
    assert "**not met**" in replaced
    assert "**not met**" not in text
    kept = [line for line in text.splitlines() if not line.startswith("| shared |")]
    assert [line for line in replaced.splitlines() if not line.startswith("| shared |")] == kept


def test_an_empty_file_of_measurements_does_not_empty_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "noise_learning.md"
    results.write_text("measured")
    flags = ["--out", str(tmp_path / "absent.jsonl"), "--report", str(results)]
    monkeypatch.setattr(sys, "argv", ["table.py", *flags])
    with pytest.raises(SystemExit) as stop:
        noise.main()
    assert stop.value.code == 2
    assert results.read_text() == "measured"


def test_drift_runs_are_found_again_and_only_those_of_the_same_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "drift.jsonl"
    size = ["--distance", "3", "--rounds", "2", "--blocks", "3", "--block-shots", "2000", "--p", "0.02"]

    def run(*flags: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["table.py", "--out", str(out), *size, *flags])
        drift.main()
        return [line for line in capsys.readouterr().out.splitlines() if not line.startswith("seed")]

    table, written = run("--seeds", "1"), out.read_text()
    assert any(line.startswith("| ema | pymatching | 1 | 4000 |") for line in table)
    monkeypatch.setattr(drift, "measure", None)  # nothing is left to measure
    page = tmp_path / "drift.md"
    assert run("--seeds", "1") == table == run("--report", str(page))
    assert page.read_text().splitlines() == [line for line in table if line.startswith("|")]
    assert out.read_text() == written
    with pytest.raises(SystemExit) as stop:
        run("--report", str(page), "--blocks", "4")
    assert stop.value.code == 2
    assert "no run with these settings (1 with others)" in capsys.readouterr().err


def test_the_device_part_decodes_the_half_it_did_not_learn_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even shots hold no events at all: learned from them, nothing is odd, and only odd ones are decoded."""
    folder = tmp_path / "toy"
    folder.mkdir()
    circuit = memory_circuit(distance=3, rounds=2, noise=depolarizing(0.02))
    detections, flips = noise.sample(circuit, 200, 1)
    detections[::2] = 0
    circuit.to_file(folder / "circuit_noisy.stim")
    detections.tofile(folder / "detection_events.b8")
    (folder / "obs_flips_actual.01").write_text("".join(f"{bit}\n" for bit in flips[:, 0]))
    dem = noise.dem_of(circuit)
    for name in ("pij_from_even_for_odd", "pij_from_odd_for_even", "circuit_detector_error_model"):
        dem.to_file(folder / f"{name}.dem")
    learned: list[float] = []
    learn = noise.learn

    def spy(moments: Moments, model: SharedParameterModel) -> NoiseFit:
        learned.append(float(moments.odd.sum()))
        return learn(moments, model)

    monkeypatch.setattr(noise, "learn", spy)
    for half in (0, 1):
        rows = list(
            noise.Table(test_shots=1, data=tmp_path).device(noise.Job("device", "toy matching", half))
        )
        assert (learned[-1] == 0) == (half == 0)
        decoded = (detections[1 - half :: 2], flips[1 - half :: 2])
        wrong = noise.Decoded(*decoded).wrong(dem)
        assert [r.errors_reference for r in rows[:2]] == [int(w.sum()) for w in wrong.values()]
        assert {r.test_shots for r in rows} == {100}
