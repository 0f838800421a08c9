"""Plots are drawn from whatever a sweep can hold, and `qecpipe plot` reads what a sweep wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sinter
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sims.plots.figure import legend_below
from sims.plots.style import looks
from sims.plots.sweep import _curves, draw_sweep
from sims.sweeps.labels import curve_label

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
    label = curve_label(shown)
    assert [label(one) for one in shown] == [
        "pymatching, noise file:device_a.toml#0123abcd",
        "pymatching, noise file:device_b.toml#0123abcd",
    ]


def test_legend_has_pymatching_first_and_then_the_curves_from_the_top() -> None:
    stats = [
        _stats(d=3, p=0.01, errors=errors, decoder=name)
        for name, errors in (("better", 10), ("worse", 90), ("pymatching", 50), ("middle", 40))
    ]
    order = [name for name, _ in _curves(stats, curve_label(stats))]
    assert order == ["pymatching", "worse", "middle", "better"]


@pytest.mark.parametrize("count", [2, 5, 12])
def test_legend_stands_below_all_data_and_is_read_by_rows(count: int) -> None:
    figure = Figure(figsize=(6.5, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    names = [f"predecoder+decoder-{k}" for k in range(count)]
    legend_below(figure, looks([(name, name) for name in names]))
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert legend.get_window_extent().y1 <= axes.get_window_extent().y0
    places = [(-round(text.get_window_extent().y0), text.get_window_extent().x0) for text in legend.texts]
    by_rows = [legend.texts[k].get_text() for k in sorted(range(count), key=places.__getitem__)]
    assert by_rows == names


def test_looks_differ_without_colour_and_stay_with_their_decoder() -> None:
    names = ["pymatching", "pymatching-correlated", "neural-matching", "predecoder+pymatching", "tesseract"]
    chosen = looks([*((name, name) for name in names), ("pymatching, weights b", "pymatching")])
    assert len({(str(look.linestyle), look.marker) for look in chosen.values()}) == 6
    assert looks([("neural-matching", "neural-matching")])["neural-matching"] == chosen["neural-matching"]


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
