"""Latencies of a stream as a plot and as histograms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sims.plots.stream import draw_latency_percentiles, write_histogram


@pytest.mark.parametrize("values", [[], [5_000], [1_000, 2_000, 90_000_000]])
def test_any_number_of_outputs_is_drawn(values: list[int], tmp_path: Path) -> None:
    latencies = {"commit": np.array(values, dtype=np.int64), "result": np.array([], dtype=np.int64)}
    path = draw_latency_percentiles(latencies, tmp_path / "latency.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_histogram_has_the_percentiles_in_us(tmp_path: Path) -> None:
    text = write_histogram(np.arange(1, 1001) * 1000, tmp_path / "commit.hgrm").read_text()
    rows = [line.split() for line in text.splitlines() if line.strip()[:1].isdigit()]
    assert int(rows[-1][2]) == 1000
    for value, share, *_ in rows:
        assert float(value) == pytest.approx(1000 * float(share), abs=2)


def test_a_histogram_of_nothing_is_written(tmp_path: Path) -> None:
    assert "#[Max" in write_histogram(np.array([], dtype=np.int64), tmp_path / "commit.hgrm").read_text()
