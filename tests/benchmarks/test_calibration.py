"""Reliability of gaps: the factor that makes them log-odds is found, and cells go on where they were."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from scripts.benchmarks.accuracy import calibration
from scripts.benchmarks.accuracy.calibration import Reliability


def _drawn(scale: float, shots: int = 200_000) -> Reliability:
    """Gaps of which `scale` times are the log-odds of the truth."""
    rng = np.random.default_rng(4)
    gap = rng.normal(0, 6, shots)
    return Reliability.of(gap, rng.random(shots) < expit(-scale * gap))


@pytest.mark.parametrize("scale", [0.4, 1.0, 1.7])
def test_the_factor_that_makes_gaps_log_odds_is_found(scale: float) -> None:
    found = _drawn(scale)
    assert found.best_scale() == pytest.approx(scale, rel=0.03)
    assert found.worst(scale) < 0.01
    if scale != 1.0:
        assert found.worst(1.0) > 0.05
        assert found.cross_entropy(scale) < found.cross_entropy(1.0)


def test_parts_have_a_tenth_of_the_shots_each_and_all_errors() -> None:
    """From unsure to sure; what is said is the mean of 1 / (1 + exp(|gap|))."""
    rng = np.random.default_rng(5)
    gap, flipped = rng.normal(0, 6, 50_000), rng.random(50_000) < 0.5
    found = Reliability.of(gap, flipped)
    parts = found.parts(1.0)
    assert len(parts) == 10
    assert [shots for shots, _, _ in parts] == pytest.approx([5000] * 10, abs=600)
    assert sum(shots for shots, _, _ in parts) == 50_000
    assert sum(shots * observed for shots, _, observed in parts) == pytest.approx(
        ((gap < 0) != flipped).sum()
    )
    said = [predicted for _, predicted, _ in parts]
    assert said == sorted(said, reverse=True)
    least = np.sort(np.abs(gap))[: parts[0][0]]
    assert said[0] == pytest.approx(expit(-least).mean(), rel=0.01)


def test_where_nearly_all_shots_are_sure_there_are_fewer_parts() -> None:
    gap = np.array([1.0] * 10 + [40.0] * 990)
    found = Reliability.of(gap, np.zeros(1000, dtype=bool))
    assert sum(shots for shots, _, _ in found.parts(1.0)) == 1000
    assert found.worst(1.0) <= 0.3
    with np.errstate(all="raise"):
        assert found.best_scale() > 1


def test_a_second_run_has_the_counts_and_samples_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--weights", "realtime-matching", "--distance", "5", "--noise", "depolarizing", "si1000"]
    arguments = ["calibration", "--out", str(tmp_path), *flags, "--shots", "256", "--chunk-shots", "64"]
    monkeypatch.setattr("sys.argv", [*arguments, "--results", str(tmp_path / "results")])
    calibration.main()
    first = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| realtime")]
    assert len(first) == 2
    lines = [json.loads(line) for line in (tmp_path / "cells.jsonl").read_text().splitlines()]
    assert [sum(line["shots"]) for line in lines] == [64] * 8
    monkeypatch.setattr(calibration, "_compiled", lambda *_: pytest.fail("nothing is left to sample"))
    calibration.main()
    again = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| realtime")]
    assert again == first
    rows = json.loads((tmp_path / "results" / "calibration.json").read_text())
    assert [row["shots"] for row in rows] == [128, 128]
    assert rows[0]["scale"] == rows[1]["scale"]
