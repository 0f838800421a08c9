"""Latency: what is timed, that both decoders see the same shots, and what is written."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pymatching
import pytest
import sinter
import stim

from qec import normal_form
from sims.latency.measure import STAGES, DecoderLatency, LatencyPlan, StageTimes, contenders, measure
from sims.latency.report import LatencyPoint, latency_table, summary_frame, write_report

from ..conftest import Refused, RunCli

CIRCUIT = stim.Circuit.generated(
    "surface_code:rotated_memory_x", distance=3, rounds=3, after_clifford_depolarization=0.02
)
META = {"d": 3, "rounds": 3, "p": 0.02, "basis": "x", "noise": "test"}
PLAN = LatencyPlan(single_shots=40, batched_shots=1000, batch_shots=64, seconds=60.0, seed=5)


def _compiled(predecoded: sinter.Decoder) -> Any:
    return predecoded.compile_decoder_for_dem(dem=CIRCUIT.detector_error_model(decompose_errors=True))


def _measure(compiled: Any, plan: LatencyPlan) -> list[DecoderLatency]:
    both = contenders("predecoder+pymatching", compiled)
    return measure(CIRCUIT, both, plan=plan, batch_shots=compiled.batch_shots)


def test_decoders_without_a_predecoder_are_timed_whole(predecoded: sinter.Decoder) -> None:
    compiled = _compiled(predecoded)
    timed = [*contenders("predecoder+pymatching", compiled), *contenders("other", compiled.global_decoder)]
    assert [(one.name, one.stages) for one in timed] == [
        ("pymatching", ("total",)),
        ("predecoder+pymatching", STAGES),
        ("other", ("total",)),
    ]
    plain, _, other = measure(CIRCUIT, timed, plan=PLAN, batch_shots=64)
    assert (plain.errors, plain.shots) == (other.errors, other.shots)
    assert len(other.times[0].ns) == 40


def test_counts_are_those_of_the_seeded_shots(predecoded: sinter.Decoder) -> None:
    plain, ours = _measure(_compiled(predecoded), PLAN)
    shots, observables = CIRCUIT.compile_detector_sampler(seed=5).sample(1024, separate_observables=True)
    dem = normal_form(CIRCUIT.detector_error_model(decompose_errors=True)).dem
    matching = pymatching.Matching.from_detector_error_model(dem)
    cleared = shots.copy()
    cleared[:, 0] = False
    assert (plain.shots, plain.decoder, ours.decoder) == (1024, "pymatching", "predecoder+pymatching")
    assert plain.errors == int((matching.decode_batch(shots) != observables).sum())
    assert ours.errors == int((matching.decode_batch(cleared) != observables).sum())


def test_samples_and_stages(predecoded: sinter.Decoder) -> None:
    plain, ours = _measure(_compiled(predecoded), PLAN)
    for latency, stages in ((plain, STAGES[3:]), (ours, STAGES)):
        single, batched = latency.times
        assert (single.mode, single.batch_shots, single.ns.shape) == ("single", 1, (40, len(stages)))
        assert (batched.mode, batched.batch_shots, batched.ns.shape) == ("batched", 64, (16, len(stages)))
        for times in latency.times:
            parts = times.ns[:, :-1].sum(axis=1)
            np.testing.assert_array_equal(parts, times.ns[:, -1] if len(stages) > 1 else 0)
            assert (times.ns >= 0).all()


def test_garbage_is_not_collected_in_a_timed_call(predecoded: sinter.Decoder) -> None:
    """A full collection takes longer than any decode, and would be its maximum."""
    compiled = _compiled(predecoded)
    states, propose = [], compiled.propose

    def watched(packed: np.ndarray) -> np.ndarray:
        states.append(gc.isenabled())
        return propose(packed)

    compiled.propose = watched
    _measure(compiled, PLAN)
    assert gc.isenabled()
    assert not any(states[-40 - 16 :])


def test_seconds_end_a_run_that_has_a_sample(predecoded: sinter.Decoder) -> None:
    plan = LatencyPlan(single_shots=1000, batched_shots=1000, batch_shots=10, seconds=1e-9, seed=5)
    plain, _ = _measure(_compiled(predecoded), plan)
    assert [len(times.ns) for times in plain.times] == [1, 1]
    assert plain.shots == 10


def test_microseconds_are_per_shot_and_round() -> None:
    times = StageTimes("batched", 10, ("global", "total"), np.array([[6000, 9000]]))
    assert {stage: us.tolist() for stage, us in times.us_per_round(3).items()} == {
        "global": [0.2],
        "total": [0.3],
    }


@pytest.mark.parametrize(
    "change", [{"single_shots": 0}, {"batched_shots": 0}, {"batch_shots": 0}, {"seconds": 0.0}]
)
def test_a_plan_that_measures_nothing_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(change))} is 0"):
        LatencyPlan(**{**vars(PLAN), **change})


def test_report_has_quantiles_where_samples_suffice(predecoded: sinter.Decoder, tmp_path: Path) -> None:
    results = _measure(_compiled(predecoded), PLAN)
    points = [LatencyPoint(META, result) for result in results]
    paths = write_report(points, tmp_path)
    assert [path.name for path in paths] == [
        "latency.parquet",
        "latency_samples.parquet",
        "latency_vs_ler.png",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths)
    summary = pl.read_parquet(paths[0])
    assert summary.height == 2 * (1 + 4)
    assert summary["p99.9_us_per_round"].null_count() == summary.height
    single = summary.filter(pl.col("mode") == "single")
    assert single["p90_us_per_round"].null_count() == 0
    samples = pl.read_parquet(paths[1])
    assert samples.height == (40 + 16) * (1 + 4)
    total = (
        samples.filter((pl.col("stage") == "total") & (pl.col("mode") == "single"))
        .filter(pl.col("decoder") == "pymatching")["ns"]
        .max()
    )
    row = single.filter((pl.col("stage") == "total") & (pl.col("decoder") == "pymatching"))
    assert row["max_us_per_round"][0] == pytest.approx(float(str(total)) / 3000)
    assert latency_table(summary_frame(points)).row_count == 2 * (1 + 4)


@pytest.mark.slow
def test_cli_measures_with_a_real_network(
    tmp_path: Path, two_weights: tuple[Path, Path], run_cli: RunCli
) -> None:
    code, out, err = run_cli(
        *("latency", "--distance", 3, "--p", 0.006, "--weights", two_weights[0]),
        *("--decoder", "pymatching", "neural-matching"),
        *("--single-shots", 20, "--batched-shots", 200, "--out", tmp_path),
    )
    told = [line for line in err.splitlines() if not line.startswith("device auto: the CPU, as ")]
    assert (code, told) == (0, [])
    assert "predecoder+pymatching" in out
    totals = pl.read_parquet(tmp_path / "latency.parquet").filter(
        (pl.col("stage") == "total") & (pl.col("mode") == "single")
    )
    assert totals["decoder"].to_list() == ["pymatching", "predecoder+pymatching", "neural-matching"]
    assert totals["weights"].is_null().to_list() == [True, False, False]
    assert totals["precision"].to_list() == [None, "float32", "float32"]
    assert totals["samples"].to_list() == [20, 20, 20]


def test_bad_distance_is_one_line_and_leaves_no_file(
    tmp_path: Path, two_weights: tuple[Path, Path], refused: Refused
) -> None:
    out = tmp_path / "out"
    err = refused("latency", "--distance", 1, "--weights", two_weights[0], "--out", out)
    assert "distance=1" in err
    assert not out.exists()
