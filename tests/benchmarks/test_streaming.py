"""The streaming table: what it measures in process, what counts as met, and rows that replace their own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.benchmarks.streaming import account, render, rows, table
from scripts.benchmarks.streaming.periods import Effort
from scripts.benchmarks.streaming.targets import setups

SETUP = replace(setups("realtime")[0], distance=3)
SIZE = replace(
    table.SMALL,
    effort=Effort(rounds=60, search_seconds=0.01, most_seconds=0.01, stall_ms=1e5),
    sampled_rows=40,
    ler_errors=(1, 1),
    ler_rounds=3,
)


@pytest.fixture(scope="module")
def measured() -> list[tuple[str, dict[str, Any]]]:
    return list(table.measure([SETUP], ["in-process", "ler"], SIZE, p=0.01))


def test_a_period_is_measured_with_every_output_checked(measured: list[tuple[str, dict[str, Any]]]) -> None:
    kind, row = measured[0]
    assert kind == "periods"
    assert row["where"] == "in process"
    assert row["rounds_per_shot"] == 20
    first = row["at"][0]
    assert first["name"] == "sustained"
    assert first["period_us"] == row["period_us"] > row["closed_loop_us"] > 0
    assert first["commits"] > first["results"] > 0
    assert first["backlog_end"] == 0
    assert first["latency_us"]["p50"] <= first["latency_us"]["p99"]


def test_gaps_are_measured_where_there_are_some() -> None:
    size = replace(SIZE, gap_shots=2)
    ((kind, row),) = table.measure([SETUP], ["gap"], size, p=0.01)
    assert (kind, row["name"]) == ("gap", "d = 3, correlated")
    assert min(*row["without"].values(), *row["with"].values()) > 0
    assert render.RENDER["gap"]([row]).count("| d = 3, correlated | 20 |") == 1


def test_streams_are_compared_with_whole_shots(measured: list[tuple[str, dict[str, Any]]]) -> None:
    kind, row = measured[-1]
    assert kind == "ler"
    assert row["errors_whole"] >= 1
    assert row["upper_95"] >= row["ratio"] > 0


def test_the_page_has_a_table_of_each_kind_and_rows_replace_their_own(
    measured: list[tuple[str, dict[str, Any]]], tmp_path: Path
) -> None:
    overhead = {
        "name": "one",
        "period_us": 50.0,
        "rounds": 10,
        "turns": 1,
        "p50": {"in_process_us": 1.0, "service_us": 5.0, "added_us": 4.0},
        "p99": {"in_process_us": 2.0, "service_us": 9.0, "added_us": 7.0},
    }
    streams = {
        "name": "one",
        "streams": 2,
        "period_us": 8.0,
        "rounds": 10,
        "p99_alone_us": 10.0,
        "p99_alone_full_rate_us": 20.0,
        "p99_by_stream_us": [11.0, 15.0],
        "largest_ratio": 1.5,
        "largest_ratio_full_rate": 0.75,
    }
    (tmp_path / "streaming.md").write_text("# Streaming\n\nWhat it means.\n")
    found = [*measured, ("overhead", overhead), ("streams", streams)]
    rows.write_results(found, tmp_path)
    rows.write_results([("streams", streams | {"largest_ratio": 1.25})], tmp_path)
    page = (tmp_path / "streaming.md").read_text()
    assert page.startswith("# Streaming\n\nWhat it means.\n")
    assert sum(line.startswith("|---") for line in page.splitlines()) == 5
    assert "| one | 50 | p50 | 1.0 | 5.0 | 4.0 |" in page
    assert "11, 15 | 1.25; 0.75 |" in page
    assert "1.50; " not in page
    data = json.loads((tmp_path / "streaming.json").read_text())
    assert {"processor", "revision", "versions"} <= data["periods"][0]["measured"].keys()
    assert len(data["streams"]) == 1


def test_a_run_that_was_interrupted_goes_on(
    measured: list[tuple[str, dict[str, Any]]], tmp_path: Path
) -> None:
    """Rows of this commit and size are not measured again; others are."""
    rows.write_results(measured[:1], tmp_path, size="small")
    done = rows.measured_before(tmp_path, "small")
    assert done("periods", (SETUP.name, "in process"))
    assert not done("periods", (SETUP.name, "service"))
    assert not rows.measured_before(tmp_path, "full")("periods", (SETUP.name, "in process"))
    assert list(table.measure([SETUP], ["in-process"], SIZE, p=0.01, done=done)) == []
    data = json.loads((tmp_path / "streaming.json").read_text())
    data["periods"][0]["measured"]["revision"] = "another"
    (tmp_path / "streaming.json").write_text(json.dumps(data))
    assert not rows.measured_before(tmp_path, "small")("periods", (SETUP.name, "in process"))


SAMPLES = """
    7f01 matching::Matcher::match(std::vector<int> const&)+0x12 (/a/_qecpipe.cpython-311.so)
    7f02 qecpipe::streams::Stream::push(unsigned char const*, long) (/a/_qecpipe.cpython-311.so)
    7f03 qecpipe::service::crc32(unsigned char const*, unsigned long) (/a/_qecpipe.cpython-311.so)
    7f04 _PyEval_EvalFrameDefault (/usr/lib/libpython3.11.so.1.0)
    ffff unix_stream_read_generic ([kernel.kallsyms])
    ffff vfs_write ([kernel.kallsyms])
    ffff schedule ([kernel.kallsyms])
    7f05 [unknown] (/somewhere)
"""


def test_samples_belong_to_stages() -> None:
    found = account.count_stages(SAMPLES)
    assert set(found) == {
        "matching",
        "windows: layers, assembling",
        "frames, checks",
        "Python",
        "system calls: socket",
        "system calls: journal",
        "system calls: other",
        account.OTHER,
    }
    assert set(found.values()) == {1}
    row = {"name": "one", "where": "service", "round_us": 8.0, "stages_us": {s: 1.0 for s in found}}
    lines = account.render([row]).splitlines()
    assert lines[0].startswith("| a round's time, µs | where | together | system calls: socket |")
    assert lines[2].startswith("| one | service | **8.00** | 1.00 | 1.00 | 1.00 | 0.00 | 1.00 |")
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("period", "p50", "p99", "verdict"),
    [
        (1.0, 60.0, 190.0, "goal"),
        (1.0, 64.0, 190.0, "requirement"),
        (2.0, 64.0, 390.0, "requirement"),
        (2.0, 64.0, 401.0, "no"),
        (4.1, 10.0, 20.0, "no"),
    ],
)
def test_period_and_latencies_decide_together(period: float, p50: float, p99: float, verdict: str) -> None:
    at = {"name": "sustained", "period_us": period, "sustained": True, "latency_us": {"p50": p50, "p99": p99}}
    row = {
        "period_us": period,
        "must_us": 4,
        "goal_us": 1.1,
        "must_latency_us": (100, 400),
        "goal_latency_us": (63, 200),
        "at": [at],
    }
    assert render.verdict(row) == verdict
    assert render.verdict(row | {"must_latency_us": None, "goal_latency_us": None, "must_us": 9}) != "no"
