"""The table of cascades pairs what decoders have in common, and decodes nothing twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.benchmarks.confidence import cascade


def test_a_second_run_decodes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--first", "pymatching", "--second", "pymatching-correlated", "--beside", "--percent", "5"]
    flags += ["--distance", "3", "--shots", "1024", "--second-shots", "512", "--chunk-shots", "512"]
    arguments = ["cascade", "--out", str(tmp_path), *flags, "--results", str(tmp_path / "results")]
    monkeypatch.setattr("sys.argv", arguments)
    cascade.main()
    first = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| 3 |")]
    assert len(first) == 3
    chunks = [json.loads(line) for line in (tmp_path / "chunks.jsonl").read_text().splitlines()]
    assert len(chunks) == 5  # two for each, but one for the second decoder
    monkeypatch.setattr(cascade, "_decode", lambda *_: pytest.fail("nothing is left to decode"))
    cascade.main()
    again = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| 3 |")]
    assert again == first
    rows = {row["decoder"]: row for row in json.loads((tmp_path / "results" / "cascade.json").read_text())}
    fast, slow = rows["pymatching"], rows["pymatching-correlated"]
    both = rows["cascade:pymatching,pymatching-correlated@5%"]
    assert (fast["shots"], slow["shots"], both["shots"]) == (1024, 512, 1024)
    only, other, shared = both["only_this_only_that"]["pymatching"]
    assert shared == 1024
    assert both["errors"] - fast["errors"] == only - other
    assert slow["only_this_only_that"]["pymatching"][2] == 512
    assert slow["only_this_only_that"]["pymatching-correlated"] == [0, 0, 512]
    assert (tmp_path / "cascade.png").stat().st_size > 5_000
