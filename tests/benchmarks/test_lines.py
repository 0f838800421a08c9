"""A benchmark that is killed while it writes a line goes on where it was."""

from __future__ import annotations

from pathlib import Path

from scripts.benchmarks.lines import add_lines, read_lines


def test_a_line_that_was_not_finished_is_written_over(tmp_path: Path) -> None:
    """It ended every later run with an error of JSON."""
    log = tmp_path / "chunks.jsonl"
    assert read_lines(log) == []
    add_lines(log, {"number": 0}, {"number": 1})
    with log.open("a") as file:
        file.write('{"number": 2, "wro')
    assert read_lines(log) == [{"number": 0}, {"number": 1}]
    add_lines(log, {"number": 2})
    assert read_lines(log) == [{"number": 0}, {"number": 1}, {"number": 2}]
    assert log.read_text().count("\n") == 3
