"""The table of times takes every batch once, and says what its decoders are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.benchmarks.speed import contestants, table
from scripts.benchmarks.speed.table import Batch


def test_a_second_run_times_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--distance", "5", "--detectors-per-batch", "1", "--results", str(tmp_path / "results")]
    flags += ["--weights", "realtime-matching", "realtime-matching+fast-matching"]
    flags += ["--decoder", "neural-ensemble", "predecoder+pymatching"]
    monkeypatch.setattr("sys.argv", ["table", "--out", str(tmp_path), "--batches", "2", *flags])
    table.main()
    first = capsys.readouterr().out
    monkeypatch.setattr(table, "_times", lambda *_, **__: pytest.fail("nothing is left to time"))
    table.main()
    assert capsys.readouterr().out == first
    lines = [json.loads(line) for line in (tmp_path / "batches.jsonl").read_text().splitlines()]
    assert [line["batch"] for line in lines] == [0, 1]
    rows = json.loads((tmp_path / "results" / "speed.json").read_text())
    assert {(row["decoder"], row["weights"]) for row in rows} == {
        ("pymatching", ""),
        ("pymatching-correlated", ""),
        ("neural-ensemble", "realtime-matching"),
        ("neural-ensemble", "realtime-matching+fast-matching"),
        ("predecoder+pymatching", "realtime-matching"),
        ("pymatching on its residual", "realtime-matching"),
    }
    assert {row["shots"] for row in rows} == {128}
    errors = {row["decoder"]: row["errors"] for row in rows}
    assert errors["pymatching on its residual"] == errors["predecoder+pymatching"]
    monkeypatch.setattr("sys.argv", ["table", "--out", str(tmp_path), "--batches", "3", *flags])
    with pytest.raises(pytest.fail.Exception, match="nothing is left"):
        table.main()


def test_times_are_of_a_round_and_ratios_of_one_batch() -> None:
    decoders = list(contestants.contestants((), ()))
    batches = [Batch(100, (1e-3, 2e-3), (3, 2)), Batch(100, (3e-3, 3e-3), (1, 0))]
    plain, correlated = table.rows_of({"p": 0.006, "d": 5, "basis": "x"}, decoders, batches)
    assert (plain["decoder"], correlated["decoder"]) == contestants.PLAIN
    assert plain["us_per_round"] == [3.0, 4.0, 5.0]  # 2 and 6
    assert plain["over_correlated"] == [0.625, 0.75, 0.875]  # 1 / 2 and 1
    assert (plain["errors"], correlated["errors"], plain["shots"]) == (4, 2, 200)
