"""Error rates against time: a point where the rate and the time of a row say, for rows that have both."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import sinter
from matplotlib.figure import Figure

from sims.plots import ler_vs_time
from sims.plots.ler_vs_time import LER_VS_TIME, draw_ler_vs_time
from sims.sweeps.measured_sampler import DECODE_NS, PREDECODE_NS


def _row(name: str, errors: int, *, d: int = 3, **counts: int) -> sinter.TaskStats:
    return sinter.TaskStats(
        strong_id=f"{name}{d}".encode().hex().ljust(64, "0")[:64],
        decoder=name,
        json_metadata={"d": d, "rounds": 4, "p": 0.01, "basis": "x"},
        shots=1000,
        errors=errors,
        custom_counts=Counter(counts),
    )


def test_points_are_at_time_and_rate_per_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    save = ler_vs_time.save_figure

    def keep(figure: Figure, path: Path) -> Path:
        drawn.append(figure)
        return save(figure, path)

    monkeypatch.setattr(ler_vs_time, "save_figure", keep)
    rows = [
        _row("pymatching", 100, **{DECODE_NS: 8_000_000}),
        _row("predecoder+pymatching", 50, **{DECODE_NS: 2_000_000, PREDECODE_NS: 10_000_000}),
        _row("tesseract", 0, d=5, **{DECODE_NS: 400_000_000}),
        _row("untimed", 40),
    ]
    assert draw_ler_vs_time(rows, tmp_path) == tmp_path / LER_VS_TIME
    assert (tmp_path / LER_VS_TIME).stat().st_size > 10_000
    (figure,) = drawn
    left, right = figure.axes
    points = sorted((float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in left.lines)  # pyright: ignore
    rates = [sinter.shot_error_rate_to_piece_error_rate(rate, pieces=4) for rate in (0.1, 0.05)]
    assert points == [pytest.approx((2.0, rates[0])), pytest.approx((3.0, rates[1]))]
    assert not right.lines  # no error was seen: only the band of what may be
    assert len(right.collections) == 1


def test_one_decoder_is_no_trade(tmp_path: Path) -> None:
    rows = [_row("pymatching", 100, **{DECODE_NS: 8_000_000}), _row("other", 40)]
    assert draw_ler_vs_time(rows, tmp_path) is None
    assert not (tmp_path / LER_VS_TIME).exists()
