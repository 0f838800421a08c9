"""Results files: what is read equals what sinter reads, and damage is found wherever the file is cut."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import sinter

from sims.sweeps.results_csv import ResultsFileError, merge_results, read_results

_ROWS = [
    sinter.TaskStats(
        strong_id=name * 16,
        decoder="pymatching",
        json_metadata={"d": 3, "p": 0.01},
        shots=shots,
        errors=3,
        seconds=0.25,
        custom_counts=Counter(detectors=24 * shots),
    )
    for name, shots in (("abcd", 100), ("ef01", 50), ("abcd", 25))
]


def _write(path: Path, rows: list[sinter.TaskStats]) -> bytes:
    path.write_text("\n".join([sinter.CSV_HEADER, *(row.to_csv_line() for row in rows)]) + "\n")
    return path.read_bytes()


def test_reads_what_sinter_reads(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    _write(path, _ROWS)
    expected = {one.strong_id: one for one in sinter.read_stats_from_csv_files(path)}
    assert read_results(path) == expected
    assert read_results(path)["abcd" * 16].shots == 125


def test_every_cut_is_whole_rows_or_an_error_that_names_the_line(tmp_path: Path) -> None:
    whole = _write(tmp_path / "whole.csv", _ROWS)
    line_ends = [index + 1 for index, byte in enumerate(whole) if byte == ord("\n")]
    path = tmp_path / "cut.csv"
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        if length in line_ends:
            rows = whole[:length].count(b"\n") - 1
            assert sum(one.shots for one in read_results(path).values()) == sum(r.shots for r in _ROWS[:rows])
            continue
        line = whole[:length].count(b"\n") + 1
        with pytest.raises(ResultsFileError, match=f"{path}, line {line}: .*(delete that line|move it away)"):
            read_results(path)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("pymatching,abcd", "abcd", "7 columns instead of 8"),
        ('""p"":0.01}"', '""p"":0.01"', "does not parse"),
        ("       100,", "       ten,", "does not parse"),
        ("       100,         3,", "         2,         3,", "does not parse"),
        ('""p"":0.01}"', '""p"":0.02}"', "contradicts an earlier one"),
    ],
)
def test_an_edited_row_is_refused(tmp_path: Path, old: str, new: str, reason: str) -> None:
    path = tmp_path / "results.csv"
    text = _write(path, [*_ROWS, _ROWS[0]]).decode()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ResultsFileError, match=reason):
        read_results(path)


@pytest.mark.parametrize("text", ["", "a,b,c\n1,2,3\n", "\n"])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.csv"
    path.write_text(text)
    with pytest.raises(ResultsFileError, match="line 1: not a sinter results file"):
        read_results(path)


def test_merging_files_adds_rows_of_one_task(tmp_path: Path) -> None:
    _write(tmp_path / "a.csv", _ROWS)
    _write(tmp_path / "b.csv", _ROWS[:1])
    merged = merge_results([read_results(tmp_path / "a.csv"), read_results(tmp_path / "b.csv")])
    assert {one.strong_id: one.shots for one in merged} == {"abcd" * 16: 225, "ef01" * 16: 50}
