"""Results that benchmarks write: rows by their key, and a page whose other words stay."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from predecoder.training import PairedCounts
from scripts.benchmarks.accuracy.table import KEY, Counts, render
from scripts.benchmarks.results import update_results


def _row(distance: int, **counts: int) -> dict[str, Any]:
    cell = {"weights": "fast", "policy": "auto", "noise": "depolarizing", "p": 0.006, "d": distance}
    numbers = {"shots": 1000, "detectors": 10, "events": 8, "residual_events": 2} | counts
    of_row = Counts(1000, PairedCounts(**numbers))
    return cell | {"basis": "x", "decoder": "neural-matching", "counts": asdict(of_row)}


def test_a_row_takes_the_place_of_its_own_and_the_page_keeps_its_words(tmp_path: Path) -> None:
    page = tmp_path / "accuracy.md"
    page.write_text("# Accuracy\n\nWhat it means.\n")
    first = [_row(5, errors_plain=200, errors_predecoded=100, only_plain=120, only_predecoded=20), _row(9)]
    update_results(tmp_path, "accuracy", first, key=KEY, render=render)
    again = [_row(9, errors_plain=30, errors_predecoded=10, only_plain=25, only_predecoded=5)]
    assert update_results(tmp_path, "accuracy", again, key=KEY, render=render) == [
        tmp_path / "accuracy.json",
        page,
    ]
    rows = json.loads((tmp_path / "accuracy.json").read_text())
    assert [(row["d"], row["counts"]["doubtful"]["errors_plain"]) for row in rows] == [(5, 200), (9, 30)]
    assert {"processor", "cores", "date", "revision"} <= rows[0]["measured"].keys()
    text = page.read_text()
    assert text.startswith("# Accuracy\n\nWhat it means.\n\n| weights | policy |")
    assert text.count("| fast | auto |") == 2
    assert "| 200 / 100 | 120 / 20 | 2.00 [" in text
    assert "| 30 / 10 | 25 / 5 | 3.00 [" in text
    assert text.splitlines()[-1].count("*") == 1  # fewer than 100 errors on a side


def test_rows_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    rows = [{"name": "b", "d": 5}, {"name": "a", "d": 13}, {"name": "a", "d": 5}, {"name": "a", "d": "all"}]
    data, _ = update_results(tmp_path, "page", rows, key=("name", "d"), render=lambda _: "| table |")
    assert [(row["name"], row["d"]) for row in json.loads(data.read_text())] == [
        *(("a", 5), ("a", 13), ("a", "all"), ("b", 5)),
    ]


def test_reports_go_into_pages_that_the_site_has() -> None:
    scripts = {path: path.read_text() for path in Path("scripts/benchmarks").rglob("*.py")}
    pages = {page for text in scripts.values() for page in re.findall(r"docs/(results/\w+\.md)", text)}
    assert {"results/windows.md", "results/drift.md"} <= pages
    site = Path("mkdocs.yml").read_text()
    assert [page for page in sorted(pages) if not Path("docs", page).exists() or page not in site] == []
