"""Plots are drawn from whatever a sweep can hold, and `qecpipe plot` reads what a sweep wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sinter
from matplotlib.axes import Axes

from sims.plots.sweep import _curve, draw_sweep

from ..conftest import RunCli


def _stats(*, d: int, p: float, errors: int, decoder: str = "pymatching", **meta: object) -> sinter.TaskStats:
    described = {"d": d, "p": p, "basis": "x", "rounds": d, **meta}
    return sinter.TaskStats(
        strong_id=f"{decoder}{described}",
        decoder=decoder,
        json_metadata=described,
        shots=1000,
        errors=errors,
    )


@pytest.mark.parametrize(
    "stats",
    [
        [_stats(d=3, p=0.01, errors=0)],
        [_stats(d=d, p=p, errors=d, basis=b) for d in (3, 5) for p in (0.001, 0.01) for b in "xz"],
        [_stats(d=3, p=0.01, errors=9, decoder="predecoder+x", weights=w * 64) for w in "ab"],
        [_stats(d=3, p=0.0, errors=0), _stats(d=3, p=0.01, errors=5)],
        [_stats(d=3, p=0.01, errors=600)],
    ],
    ids=["no errors", "grid", "two networks", "p of zero", "above one half"],
)
def test_both_plots_are_png_files(stats: list[sinter.TaskStats], tmp_path: Path) -> None:
    paths = draw_sweep(stats, tmp_path / "new")
    assert [path.name for path in paths] == ["ler_vs_p.png", "ler_vs_distance.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    assert len(list((tmp_path / "new").iterdir())) == 2


def test_discarded_shots_are_in_no_plotted_rate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is drawn is errors over the shots that were kept; a task that kept none is not drawn."""
    drawn = []
    plot = Axes.plot

    def watched(axes: Axes, x: list[float], y: list[float], **style: Any) -> Any:
        drawn.append((list(x), list(y)))
        return plot(axes, x, y, **style)

    monkeypatch.setattr(Axes, "plot", watched)
    row = _stats(d=3, p=0.01, errors=100, rounds=1)
    half = sinter.TaskStats(**{**vars(row), "discards": 500})
    none = sinter.TaskStats(**{**vars(_stats(d=5, p=0.01, errors=0)), "discards": 1000})
    draw_sweep([half, none], tmp_path)
    assert drawn == [([0.01], [pytest.approx(0.2)]), ([3], [pytest.approx(0.2)])]
    with pytest.raises(ValueError, match="no shots to plot"):
        draw_sweep([none], tmp_path)


def test_noise_models_of_one_prefix_are_two_curves() -> None:
    """sinter merges what has one label, so labels must hold the whole name."""
    shown = [_stats(d=3, p=0.01, errors=9, noise=f"file:device_{k}.toml#0123abcd") for k in "ab"]
    group = _curve(shown, "d")
    assert [group(one)["label"] for one in shown] == [
        "pymatching, noise file:device_a.toml#0123abcd, d=3",
        "pymatching, noise file:device_b.toml#0123abcd, d=3",
    ]


def test_rows_of_another_origin_are_refused(tmp_path: Path) -> None:
    foreign = sinter.TaskStats(strong_id="abc", decoder="x", json_metadata={"d": 3}, shots=5)
    with pytest.raises(ValueError, match="lacks basis, p, rounds"):
        draw_sweep([foreign], tmp_path)
    with pytest.raises(ValueError, match="no shots to plot"):
        draw_sweep([], tmp_path)


def test_plot_reads_several_files_and_picks_decoders(tmp_path: Path, run_cli: RunCli) -> None:
    for name, decoder in (("a.csv", "pymatching"), ("b.csv", "bp-osd")):
        rows = [_stats(d=3, p=0.01, errors=40, decoder=decoder).to_csv_line()]
        (tmp_path / name).write_text("\n".join([sinter.CSV_HEADER, *rows]) + "\n")
    files = (tmp_path / "a.csv", tmp_path / "b.csv")
    code, out, err = run_cli("plot", *files, "--decoder", "bp-osd", "--out", tmp_path / "plots")
    assert (code, err) == (0, "")
    assert "40/1,000" in out
    assert "1,000" in out
    assert out.count("4.00 [2.87, 5.41]e-02") == 1
    assert (tmp_path / "plots" / "ler_vs_p.png").exists()

    code, _, err = run_cli("plot", *files, "--decoder", "absent")
    assert code == 2
    assert "no rows of decoder 'absent'; the files have bp-osd, pymatching" in err
    code, _, err = run_cli("plot", tmp_path / "absent.csv")
    assert code == 2
    assert "absent.csv: No such file or directory; check the path" in err
