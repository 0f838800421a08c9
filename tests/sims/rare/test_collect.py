"""Collecting for sinter's tasks: black boxes, killed and resumed, by workers, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import sinter
import stim

from global_decoders import decoder_names, is_available
from qec import depolarizing, memory_circuit
from sims import make_decoder
from sims.rare import Collected, Effort, RareLogError, Until, collect_rare
from sims.rare.log import MANIFEST, RUNS
from sims.rare.splitting import Repetition
from sims.sweeps import read_results, write_results

from .conftest import Exact, repetition_code

EFFORT, UNTIL = Effort(chains=16, steps=4), Until(repetitions=4, effective_errors=None)


@pytest.fixture
def task(exact: Exact) -> sinter.Task:
    return sinter.Task(circuit=repetition_code(3e-3), decoder="pymatching", json_metadata={"d": 3})


def _collect(
    tasks: Sequence[sinter.Task], folder: Path, until: Until = UNTIL, *, seed: int = 1, workers: int = 1
) -> list[Collected]:
    decoders = {str(task.decoder): make_decoder(str(task.decoder), weights="realtime") for task in tasks}
    found = collect_rare(
        tasks, decoders, folder=folder, seed=seed, effort=EFFORT, until=until, workers=workers
    )
    return list(found)


def _numbers(found: Sequence[Collected]) -> list[tuple]:
    """All that was found, but the time that it took."""
    return [(one.task.strong_id(), one.rare, [run.found for run in one.runs], one.decoded) for one in found]


def test_a_row_has_the_counts_of_its_rate_and_says_that_they_are_effective(
    task: sinter.Task, exact: Exact, tmp_path: Path
):
    (found,) = _collect([task], tmp_path)
    row = found.stats
    assert row.errors / row.shots == pytest.approx(found.rare.rate.best, rel=1e-3)
    assert row.errors == max(1, round(found.rare.effective_errors))
    assert row.json_metadata == {"d": 3, "estimator": "splitting"}
    assert row.strong_id == _key(task)  # another one than that of a row whose errors were counted
    assert row.custom_counts["repetitions"] == 4
    assert row.errors - 1 <= row.custom_counts["ancestors"] <= sum(run.found.origins for run in found.runs)
    assert row.custom_counts["decoded"] == found.decoded > 4 * EFFORT.direct_shots
    assert found.rare.rate.low < exact.rate < found.rare.rate.high
    write_results([row], tmp_path / "rare.csv")
    assert read_results(tmp_path / "rare.csv")[row.strong_id] == dataclasses.replace(
        row, seconds=round(row.seconds, 3)
    )


def test_a_killed_collection_goes_on_with_the_same_numbers(task: sinter.Task, tmp_path: Path):
    whole = _collect([task], tmp_path / "whole")
    _collect([task], tmp_path / "parts", Until(repetitions=2, effective_errors=None))
    runs = tmp_path / "parts" / RUNS
    lines = runs.read_text().splitlines(keepends=True)
    assert len(lines) == 3
    runs.write_text("".join(lines[:2]) + lines[2][:40])  # killed while it wrote the second repetition
    assert _numbers(_collect([task], tmp_path / "parts")) == _numbers(whole)
    assert len(runs.read_text().splitlines()) == 5
    before = runs.read_bytes()
    assert _numbers(_collect([task], tmp_path / "parts")) == _numbers(whole)
    assert runs.read_bytes() == before


@pytest.mark.slow
def test_workers_find_the_same_numbers(task: sinter.Task, tmp_path: Path):
    enough = Until(repetitions=16, effective_errors=30, least=4)
    here = _collect([task], tmp_path / "here", enough)
    there = _collect([task], tmp_path / "there", enough, workers=2)
    assert _numbers(there) == _numbers(here)
    assert 4 <= len(here[0].runs) <= 16


def test_seeds_and_tasks_are_independent(task: sinter.Task, tmp_path: Path):
    other = sinter.Task(circuit=task.circuit, decoder="pymatching", json_metadata={"d": 3, "again": True})
    found = [*_collect([task, other], tmp_path / "a"), *_collect([task], tmp_path / "b", seed=2)]
    assert len({one.rare.rate.best for one in found}) == 3


@pytest.mark.parametrize(
    ("ancestors", "count"), [(50.0, 8), (15.0, 10), (14.0, 11), (2.0, 20), (0.0, 20), (1000.0, 8)]
)
def test_how_many_repetitions_there_are_is_settled_by_the_search_alone(ancestors: float, count: int):
    """What repetitions find has no say, or those that happen to agree would be the last ones."""
    search = Repetition((-3.0, -9.1), 100, (), math.ceil(ancestors), ancestors)
    assert Until(repetitions=20, effective_errors=100).count(search) == count
    assert Until(repetitions=7, effective_errors=None).count(search) == 7
    assert Until(repetitions=4, effective_errors=100).count(search) == 4


_BLACK_BOXES = [name for name in decoder_names() if is_available(name) and name != "mwpf"]  # half a minute


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if "matching" in name else [pytest.mark.slow]) for name in _BLACK_BOXES]
    + [
        "neural-matching",
        "predecoder+pymatching",
        pytest.param("cascade:pymatching,tesseract@1%", marks=pytest.mark.slow),
    ],
)
def test_any_decoder_is_a_black_box(name: str, tmp_path: Path):
    circuit = memory_circuit(distance=3, rounds=3, basis="x", noise=depolarizing(1e-3))
    (found,) = _collect([sinter.Task(circuit=circuit, decoder=name, json_metadata={})], tmp_path)
    assert 2e-4 < found.rare.rate.best < 5e-3  # PyMatching: 1.5e-3


def test_tasks_that_splitting_cannot_do_are_refused(task: sinter.Task, tmp_path: Path):
    mask = np.array([1], dtype=np.uint8)
    never = stim.Circuit("X_ERROR(0.1) 0\nM 0\nDETECTOR rec[-1]\nOBSERVABLE_INCLUDE(0) rec[-1]")
    wrongly = (
        (sinter.Task(circuit=never, decoder="pymatching"), "fewer than 3% of the shots fail"),
        (sinter.Task(circuit=never), "no decoder"),
        (sinter.Task(circuit=never, decoder="pymatching", postselected_observables_mask=mask), "postselects"),
    )
    for wrong, message in wrongly:
        with pytest.raises(ValueError, match=message):
            list(collect_rare([wrong], {"pymatching": make_decoder("pymatching")}, folder=tmp_path, seed=1))
    with pytest.raises(ValueError, match="'pymatching' is not among those given: other"):
        list(collect_rare([task], {"other": make_decoder("pymatching")}, folder=tmp_path, seed=1))


def test_a_folder_of_another_collection_is_left_alone(task: sinter.Task, tmp_path: Path):
    _collect([task], tmp_path)
    before = (tmp_path / RUNS).read_bytes()
    with pytest.raises(RareLogError, match="begun with another seed \\(1, now 2\\)"):
        _collect([task], tmp_path, seed=2)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    assert manifest["tasks"][_key(task)]["decoder"] == "pymatching"
    (tmp_path / MANIFEST).write_text(json.dumps(manifest | {"code": {"qecpipe": "0"}}))
    with pytest.raises(RareLogError, match="begun with another code"):
        _collect([task], tmp_path)
    (tmp_path / MANIFEST).unlink()
    with pytest.raises(RareLogError, match=f"has no {MANIFEST} beside it"):
        _collect([task], tmp_path)
    assert (tmp_path / RUNS).read_bytes() == before


def test_a_damaged_line_is_named(task: sinter.Task, tmp_path: Path):
    _collect([task], tmp_path)
    lines = (tmp_path / RUNS).read_text().splitlines(keepends=True)
    (tmp_path / RUNS).write_text(lines[0] + '{"key": 3}\n' + lines[1])
    with pytest.raises(RareLogError, match=f"{RUNS}, line 2: not a run"):
        _collect([task], tmp_path)


def test_repetitions_without_a_failure_are_no_result():
    from sims.rare import RareRate

    with pytest.raises(ValueError, match="give more --repetitions or --chains"):
        RareRate.of([_repetition(-math.inf)] * 4)
    assert RareRate.of([_repetition(log_rate) for log_rate in (-math.inf, 0.0, 0.0, 0.0)]).rate.best == 0.75


def _repetition(log_rate: float) -> Repetition:
    ancestors = 0 if log_rate == -math.inf else 20
    return Repetition((log_rate,), 100, (0.3,), ancestors, float(ancestors))


def _key(task: sinter.Task) -> str:
    from sims.rare.collect import rare_task

    return rare_task(task).strong_id()
