"""Post-selection from counts of gaps is what discarding shots gives, and is told as sinter's discards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sinter

from global_decoders import decode_with_gap, make_decoder
from qec import depolarizing, memory_circuit
from sims.plots.kept import LER_VS_KEPT, draw_kept
from sims.sweeps import GapCounts, kept_stats, read_results, summarize, write_results
from sims.sweeps.measured_sampler import MeasuredSampler

from ..conftest import RunCli

SWEEP = ("sweep", "--distance", 3, "--p", 0.02, "--basis", "x", "--workers", 1)

METADATA = {"d": 3, "rounds": 3, "p": 0.01, "basis": "x", "gap": True}


def _drawn(shots: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Gaps, also below 0 and infinite, and which shots are wrong."""
    rng = np.random.default_rng(2)
    gap = np.concatenate([rng.normal(6, 5, shots - 2), [np.inf, -3.0]])
    return gap, rng.random(shots) < 1 / (1 + np.exp(np.minimum(gap, 50)))


@pytest.mark.parametrize("fraction", [0.5, 0.9, 0.99, 1.0])
def test_what_is_kept_is_the_surest_shots(fraction: float) -> None:
    gap, wrong = _drawn()
    kept, errors = GapCounts.of(gap, wrong).kept(fraction)
    threshold = np.sort(gap)[-kept] - 1e-12
    assert (gap >= threshold).sum() == kept
    assert wrong[gap >= threshold].sum() == errors
    assert fraction <= kept / len(gap) <= fraction + 0.02 or kept == len(gap)


def test_counts_survive_sinters_csv_and_add() -> None:
    gap, wrong = _drawn()
    whole = GapCounts.of(gap, wrong)
    parts = GapCounts.of(gap[:100], wrong[:100]) + GapCounts.of(gap[100:], wrong[100:])
    np.testing.assert_array_equal(whole.right, parts.right)
    stats = sinter.TaskStats(
        strong_id="a" * 64,
        decoder="pymatching",
        json_metadata=METADATA,
        shots=len(gap),
        errors=int(wrong.sum()),
        custom_counts=whole.custom_counts(),
    )
    found = GapCounts.of_stats(stats)
    assert found is not None
    np.testing.assert_array_equal(found.right, whole.right)
    np.testing.assert_array_equal(found.wrong, whole.wrong)


def test_rows_of_kept_shots_have_the_others_as_discards(tmp_path: Path) -> None:
    gap, wrong = _drawn()
    counts = GapCounts.of(gap, wrong).custom_counts()
    common = {"decoder": "pymatching", "shots": len(gap), "errors": int(wrong.sum()), "seconds": 3.0}
    stats = [
        sinter.TaskStats(strong_id="a" * 64, json_metadata=METADATA, custom_counts=counts, **common),
        sinter.TaskStats(strong_id="b" * 64, json_metadata=METADATA | {"d": 5}, **common),
    ]
    rows = kept_stats(stats, [0.9])
    assert len(rows) == 1
    kept, errors = GapCounts.of(gap, wrong).kept(0.9)
    assert (rows[0].shots, rows[0].discards, rows[0].errors) == (len(gap), len(gap) - kept, errors)
    write_results(rows, tmp_path / "kept.csv")
    assert list(read_results(tmp_path / "kept.csv").values()) == rows
    table = summarize([*stats, *rows])
    assert [(row.decoder_label, row.errors) for row in table if row.metadata["d"] == 3] == [
        ("pymatching", wrong.sum()),
        ("pymatching, keep 0.9", errors),
    ]
    ratio = table[1].ratio
    assert ratio is not None
    assert ratio.best == pytest.approx((wrong.sum() / len(gap)) / (errors / kept))


def test_a_sampler_with_gaps_counts_every_shot(predecoded: sinter.Decoder) -> None:
    circuit = memory_circuit(distance=3, rounds=3, basis="x", noise=depolarizing(0.02))
    dem = circuit.detector_error_model(decompose_errors=True)
    task = sinter.Task(circuit=circuit, detector_error_model=dem, json_metadata={})
    for decoder in (make_decoder("pymatching"), predecoded):
        sampler = MeasuredSampler(decoder, with_gaps=True).compiled_sampler_for_task(task)
        found = sampler.sample(500)
        row = sinter.TaskStats(
            strong_id="a" * 64,
            decoder="x",
            json_metadata=METADATA,
            shots=500,
            errors=found.errors,
            custom_counts=found.custom_counts,
        )
        counts = GapCounts.of_stats(row)
        assert counts is not None
        assert counts.right.sum() + counts.wrong.sum() == 500
        assert counts.wrong.sum() == found.errors > 0


def test_a_sweep_keeps_what_it_is_asked_to(tmp_path: Path, run_cli: RunCli) -> None:
    out = tmp_path / "out"
    command = (*SWEEP, "--decoder", "pymatching", "--max-shots", 4000)
    code, text, err = run_cli(*command, "--keep", 0.9, 0.99, "--out", out)
    assert (code, err) == (0, "")
    assert "pymatching, keep 0.9 " in text
    assert (out / LER_VS_KEPT).stat().st_size > 10_000
    (row,) = read_results(out / "results.csv").values()
    assert row.json_metadata["gap"] is True
    kept = sorted(read_results(out / "kept.csv").values(), key=lambda one: one.discards)
    assert [one.json_metadata["keep"] for one in kept] == [0.99, 0.9]
    assert 0 <= kept[0].discards <= 40
    assert 300 < kept[1].discards <= 400
    assert row.errors > kept[0].errors > kept[1].errors
    code, text, err = run_cli("plot", out / "results.csv", "--out", tmp_path / "again")
    assert (code, err) == (0, "")
    assert (tmp_path / "again" / LER_VS_KEPT).exists()


def test_what_cannot_be_kept_is_refused_before_any_shot(tmp_path: Path, run_cli: RunCli) -> None:
    common = (*SWEEP, "--out", tmp_path / "out")
    code, _, err = run_cli(*common, "--decoder", "pymatching", "--keep", 90)
    assert code == 2
    assert "--keep 90 is not above 0 and at most 1; it is a fraction of the shots" in err
    code, _, err = run_cli(*common, "--decoder", "relay-bp", "--keep", 0.9)
    assert code == 2
    assert "does not say how sure it is" in err
    assert not (tmp_path / "out" / "results.csv").exists()


def test_without_gaps_there_is_no_plot(tmp_path: Path) -> None:
    row = sinter.TaskStats(strong_id="a" * 64, decoder="x", json_metadata=METADATA, shots=9, errors=1)
    assert draw_kept([row], tmp_path) is None
    assert kept_stats([row], [0.9]) == []


def test_gaps_discard_wrong_shots_first() -> None:
    """At d = 3, the surest nine tenths have much less than nine tenths of the errors."""
    circuit = memory_circuit(distance=3, rounds=3, basis="x", noise=depolarizing(0.01))
    decoder = make_decoder("pymatching").compile_decoder_for_dem(
        dem=circuit.detector_error_model(decompose_errors=True)
    )
    packed, flips = circuit.compile_detector_sampler(seed=5).sample(
        4000, separate_observables=True, bit_packed=True
    )
    found = decode_with_gap(decoder, packed)
    wrong = (found.predictions != flips).any(axis=1)
    _, errors = GapCounts.of(found.of_shots, wrong).kept(0.9)
    assert 0.2 * wrong.sum() < errors < 0.7 * wrong.sum()
