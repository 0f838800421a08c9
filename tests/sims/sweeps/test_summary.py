"""The numbers of the table that ends a sweep, worked out by hand."""

from __future__ import annotations

import io
import random
from collections import Counter

import pytest
import sinter
from rich.console import Console

from sims.statistics import Estimate
from sims.sweeps.summary import format_estimate, summarize, summary_table
from sims.sweeps.tasks import CircuitFamily


def _stats(
    decoder: str,
    *,
    errors: int,
    p: float = 0.01,
    shots: int = 1000,
    noise: str = "depolarizing",
    weights: str = "w",
    **counts: int,
) -> sinter.TaskStats:
    meta: dict[str, object] = {"d": 3, "rounds": 3, "p": p, "basis": "x", "noise": noise}
    if decoder.startswith("predecoder"):
        meta |= {"weights": weights * 64, "device": "cpu"}
    return sinter.TaskStats(
        strong_id=f"{decoder}{meta}",
        decoder=decoder,
        json_metadata=meta,
        shots=shots,
        errors=errors,
        custom_counts=Counter(counts),
    )


def test_rows_compare_with_pymatching_of_the_same_circuit() -> None:
    stats = [
        _stats("pymatching", errors=200),
        _stats("pymatching", errors=400, p=0.02),
        _stats(
            "predecoder+pymatching",
            errors=100,
            detectors=24_000,
            detection_events=2400,
            residual_events=240,
            predecode_ns=6_000_000,
            decode_ns=3_000_000,
        ),
    ]
    plain, ours, other = summarize(stats)
    assert plain.ratio is None
    assert other.ratio is None
    assert ours.ratio is not None
    assert ours.ratio.best == pytest.approx(2.0)
    assert not ours.few_errors
    assert (ours.density_before, ours.density_after) == (0.1, 0.01)
    assert ours.predecode_us_per_round == pytest.approx(2.0)
    assert ours.us_per_round == pytest.approx(3.0)


def test_discarded_shots_are_in_no_rate() -> None:
    """10 errors of 100 shots, 50 of which were discarded, are a rate of 0.20; and so in every column."""
    half = sinter.TaskStats(**{**vars(_stats("pymatching", errors=10, shots=100)), "discards": 50})
    none = sinter.TaskStats(**{**vars(_stats("other", errors=0, shots=100)), "discards": 100})
    whole = _stats("predecoder+pymatching", errors=10, shots=50)
    row, ours = summarize([half, none, whole])
    assert row.ler_shot == ours.ler_shot
    assert row.ler_shot.best == 0.2
    assert row.ler_round == ours.ler_round
    assert ours.ratio is not None
    assert ours.ratio.best == pytest.approx(1.0)
    stream = io.StringIO()
    Console(file=stream, width=180).print(summary_table([row, ours]))
    assert "10/50 (50 discarded)" in stream.getvalue()
    assert stream.getvalue().count("2.00 [1.00, 3.37]e-01") == 2


def test_a_residual_without_events_is_a_density_of_zero() -> None:
    """The CSV leaves counts of zero out."""
    stats = _stats("predecoder+pymatching", errors=1, detectors=100, predecode_ns=5, decode_ns=5)
    (row,) = summarize([stats])
    assert row.density_after == 0


def test_few_errors_are_marked_and_empty_tasks_left_out() -> None:
    rows = summarize([_stats("pymatching", errors=99), _stats("predecoder+pymatching", errors=500)])
    assert rows[1].few_errors
    assert summarize([_stats("pymatching", errors=0, shots=0)]) == []


def test_rows_that_differ_can_be_told_apart() -> None:
    """Noise models and networks in one table: what differs is in the names, and nothing else."""
    stats = [
        _stats("predecoder+pymatching", errors=100, weights="a"),
        _stats("predecoder+pymatching", errors=200, weights="b"),
        _stats("pymatching", errors=100),
        _stats("predecoder+pymatching", errors=300, noise="si1000", weights="a"),
        _stats("pymatching", errors=600, noise="si1000"),
    ]
    rows = summarize(stats)
    assert [row.ratio and row.ratio.best for row in rows] == pytest.approx([None, 1.0, 0.5, None, 2.0])
    assert {row.circuit_label for row in rows[:3]} == {"d=3 rounds=3 p=0.01 basis=x, noise depolarizing"}
    assert rows[3].circuit_label.endswith("noise si1000")
    assert [row.decoder_label for row in rows[:3]] == [
        "pymatching",
        "predecoder+pymatching, weights aaaaaaaa",
        "predecoder+pymatching, weights bbbbbbbb",
    ]


def test_a_precision_that_no_engine_chooses_is_named_in_every_row() -> None:
    def rows(precision: str) -> list[str]:
        stats = _stats("neural-matching", errors=100)
        described = {**stats.json_metadata, "precision": precision}
        return [
            row.decoder_label
            for row in summarize([sinter.TaskStats(**{**vars(stats), "json_metadata": described})])
        ]

    assert rows("float32") == ["neural-matching"]
    for precision in ("bfloat16", "float16"):
        assert rows(precision) == [f"neural-matching, precision {precision}"]


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(0.0231, 0.024, 0.0249), "2.40 [2.31, 2.49]e-02"),
        (Estimate(0.0, 0.0, 0.00037), "0.00 [0.00, 3.70]e-04"),
        (Estimate(1e-5, 2e-5, 1.234e-4), "2.00 [1.00, 12.34]e-05"),
    ],
)
def test_estimates_share_an_exponent(estimate: Estimate, text: str) -> None:
    assert format_estimate(estimate) == text


def test_table_says_how_to_read_it() -> None:
    rows = summarize([_stats("pymatching", errors=99), _stats("predecoder+pymatching", errors=0)])
    stream = io.StringIO()
    Console(file=stream, width=160).print(summary_table(rows))
    text = stream.getvalue()
    assert "95% Clopper-Pearson" in text
    assert "d=3 rounds=3 p=0.01 basis=x" in text
    assert "inf [26.34, inf]*" in text
    assert "under 100 errors" in text


def test_rows_are_in_the_order_of_the_sweep_whatever_that_of_the_results_is() -> None:
    family = CircuitFamily(distance=(11, 3), p=(0.01, 0.002), basis=("x", "z"), rounds=1)
    decoders = (
        "pymatching",
        "pymatching-correlated",
        "bp-osd",
        "neural-matching",
        "predecoder+pymatching",
        "predecoder+pymatching-correlated",
        "predecoder+bp-osd",
    )
    stats = [
        sinter.TaskStats(
            strong_id=f"{name}{meta}", decoder=name, json_metadata=meta | network, shots=100, errors=5
        )
        for meta, _ in family.circuits()
        for name in decoders
        for network in ({"device": "cpu"} if "+" in name else {},)
    ]
    wanted = [(one.json_metadata, one.decoder) for one in stats]
    for seed in range(3):
        shuffled = random.Random(seed).sample(stats, len(stats))
        assert [(row.metadata, row.decoder) for row in summarize(shuffled)] == wanted
