"""Shots that the trainer mines: those with small gaps of the network in training, and all of those."""

import dataclasses

import numpy as np
import pytest
import torch

from predecoder.inference import TorchEngine
from predecoder.training import (
    ClassLossConfig,
    DataConfig,
    StageConfig,
    TaskConfig,
    device_mining,
    train_stage,
)
from predecoder.training.batches import batches
from predecoder.training.device_mining import DeviceMining
from predecoder.training.logical_class import ClassMatching
from predecoder.training.losses import StageLoss
from predecoder.training.run import TrainingRun
from predecoder.training.tasks import expand_tasks
from predecoder.weights import save_weights

_CPU = torch.device("cpu")


@pytest.fixture
def mined(stage, random_network, tmp_path) -> StageConfig:
    """A mined task and a whole one; labels are of a small network that knows nothing."""
    network = random_network(3)
    path = tmp_path / "labels.safetensors"
    save_weights(network, path, {"name": "labels"})
    one = TaskConfig(3, p=0.03, bases=("x",), orientations=("XV",))
    return dataclasses.replace(
        stage,
        loss="logical-class",
        network=network.config,
        tasks=(dataclasses.replace(one, shots="mined"), dataclasses.replace(one, rounds=4)),
        data=DataConfig(
            labels="distilled", network=str(path), distilled_by="trainer", blocks_per_batch=96, workers=0
        ),
        class_loss=ClassLossConfig(mined_by="trainer", small_gap=1.0, looks=3, threads=2),
    )


def _mining(stage: StageConfig) -> tuple[DeviceMining, TrainingRun]:
    streams, _ = expand_tasks(stage.tasks)
    run = TrainingRun(stage, device=_CPU)
    sampled = batches(stage, steps=range(4), streams=streams)
    return DeviceMining(sampled, run, StageLoss(stage, streams), streams), run


def test_what_is_kept_are_all_shots_with_small_gaps_in_order(mined) -> None:
    mining, run = _mining(mined)
    found: dict[int, list] = {0: [], 1: []}
    for _ in range(10):
        batch = next(mining)
        assert batch.labels is None
        assert len(batch.packed) == len(batch.inputs) == len(batch.observables)
        found[batch.stream].append(batch)
    assert all(found.values())

    streams, _ = expand_tasks(mined.tasks)
    engine = TorchEngine(streams[0].problem, run.network.eval(), device=_CPU)
    matching, wanted, whole = ClassMatching(streams[0].problem.moves), [], []
    for sampled in batches(mined, steps=range(4), streams=streams):
        if sampled.stream == 1:
            whole.append(sampled.packed)
            continue
        assert len(sampled.packed) == 3 * streams[0].batch_shots(96)
        small = np.abs(matching.gap(engine(sampled.packed), sampled.packed)) < 1.0
        assert 0 < small.mean() < 0.9
        wanted.append(np.column_stack([sampled.packed[small], sampled.observables[small]]))
        if sum(map(len, wanted)) >= len(found[0]) * streams[0].batch_shots(96):
            break
    kept = np.concatenate([np.column_stack([one.packed, one.observables]) for one in found[0]])
    assert {len(one.packed) for one in found[0]} == {streams[0].batch_shots(96)}
    np.testing.assert_array_equal(kept, np.concatenate(wanted)[: len(kept)])
    for batch, packed in zip(found[1], whole, strict=False):
        np.testing.assert_array_equal(batch.packed, packed)


def test_shots_of_one_look_fill_several_batches(mined) -> None:
    """Where all are doubtful: no more is looked at than is learned from, in the order that it came in."""
    everything = dataclasses.replace(
        mined, tasks=mined.tasks[:1], class_loss=dataclasses.replace(mined.class_loss, small_gap=1e6)
    )
    streams, _ = expand_tasks(everything.tasks)
    looked_at = []

    def sampled():
        for batch in batches(everything, steps=range(4), streams=streams):
            looked_at.append(batch.packed)
            yield batch

    run = TrainingRun(everything, device=_CPU)
    mining = DeviceMining(sampled(), run, StageLoss(everything, streams), streams)
    learned = np.concatenate([next(mining).packed for _ in range(9)])
    assert len(looked_at) == 9 // 3 + 2  # of three shots each, and those under way
    np.testing.assert_array_equal(learned, np.concatenate(looked_at)[: len(learned)])


def test_a_run_learns_from_what_its_trainer_mines_and_goes_on(mined, tmp_path) -> None:
    half = dataclasses.replace(mined, optimizer=dataclasses.replace(mined.optimizer, stop=3))
    reports = []
    train_stage(half, tmp_path / "run", device=_CPU, on_step=reports.append)
    train_stage(mined, tmp_path / "run", device=_CPU, on_step=reports.append)
    assert [report.step for report in reports] == [1, 2, 3, 4, 5, 6]
    streams, _ = expand_tasks(mined.tasks)
    assert reports[-1].samples == sum(
        next(s for s in streams if s.name == report.stream).batch_shots(96) for report in reports
    )
    assert any(report.stream.endswith("mined") for report in reports)


def test_no_shot_is_looked_at_again_after_an_interruption(mined) -> None:
    """Numbers of batches, and so their seeds, are a step's own."""
    streams, _ = expand_tasks(mined.tasks)
    first, second = (
        {row.tobytes() for row in next(batches(mined, steps=range(step, 9), streams=streams)).packed}
        for step in (0, 1)
    )
    assert first != second


def test_a_task_without_doubtful_shots_is_named(mined, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_mining, "_MOST_LOOKS", 5)
    settings = dataclasses.replace(mined.class_loss, small_gap=0.0)
    mining, _ = _mining(dataclasses.replace(mined, tasks=mined.tasks[:1], class_loss=settings))
    with pytest.raises(ValueError, match="5 batches had no more doubtful shots than none; raise p of"):
        next(mining)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"loss": "marginal"}, "loss='marginal'; use 'logical-class'"),
        ({"data": DataConfig(labels="distilled")}, "distilled_by='workers'; use 'distilled' and 'trainer'"),
        ({"data": {"passes": 2}}, "data passes=2; use 1"),
        ({"class_loss": {"teacher": "fast"}}, "class_loss teacher='fast'; use none"),
        ({"tasks": {"begins": 3}}, "a task that begins later"),
    ],
)
def test_what_a_trainer_that_mines_cannot_have_is_refused(mined, changed, said) -> None:
    for name, value in changed.items():
        now = getattr(mined, name)
        if name == "tasks":
            changed = {name: (dataclasses.replace(now[0], **value), now[1])}
        elif isinstance(value, dict):
            changed = {name: dataclasses.replace(now, **value)}
    with pytest.raises(ValueError, match=f"class_loss mined_by='trainer' and .*{said}"):
        dataclasses.replace(mined, **changed)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mined_by": "me"}, r"mined_by='me' is unknown; use one of \('workers', 'trainer'\)"),
        ({"mined_by": "trainer", "miner": "fast"}, "miner='fast', but mined_by='trainer' mines with"),
        ({"looks": 0}, "class_loss looks=0 is not a number 1, 2"),
    ],
)
def test_bad_settings_are_named(given, said) -> None:
    with pytest.raises(ValueError, match=said):
        ClassLossConfig(**given)
