"""Batches depend on the step alone, and workers neither outlive their trainer nor die in silence."""

import dataclasses
import itertools
import multiprocessing
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import qec
from predecoder.training import StageConfig, TaskConfig
from predecoder.training.batches import batches
from predecoder.training.config import ClassLossConfig
from predecoder.training.making import BatchMaker
from predecoder.training.reuse import Reuse
from predecoder.training.run import TrainingRun
from predecoder.training.shot_selection import DisagreementShots
from predecoder.training.snapshots import Snapshots
from predecoder.training.tasks import expand_tasks
from predecoder.weights import save_weights


@pytest.mark.slow
def test_batches_depend_on_seed_and_number_alone(stage):
    """Of another process, and here from the third on."""
    elsewhere = dataclasses.replace(stage, seed=1, data=dataclasses.replace(stage.data, workers=1))
    whole = [batch.packed for batch in batches(elsewhere, steps=range(4))]
    tail, other = ([BatchMaker(dataclasses.replace(stage, seed=n))(k).packed for k in (2, 3)] for n in (1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(whole[2:], tail, strict=True))
    assert not all(a.shape == b.shape and np.array_equal(a, b) for a, b in zip(tail, other, strict=True))


@pytest.mark.slow
def test_a_killed_trainer_leaves_no_workers(stage, tmp_path):
    """Their queue is full by then, and nobody will read it."""
    ready = tmp_path / "ready"
    trainer = multiprocessing.get_context("spawn").Process(target=_read_one_batch, args=(stage, ready))
    trainer.start()
    while not ready.exists():
        time.sleep(0.1)
    workers = [int(pid) for pid in ready.read_text().split()]
    assert workers
    trainer.kill()
    trainer.join()
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline and any(Path(f"/proc/{pid}").exists() for pid in workers):
        time.sleep(0.2)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def _read_one_batch(stage: StageConfig, ready: Path) -> None:
    data = dataclasses.replace(stage.data, blocks_per_batch=100_000, workers=1)
    more_than_a_pipe = dataclasses.replace(stage, data=data)
    made = batches(more_than_a_pipe, steps=range(1000))
    next(made)
    time.sleep(3)
    partial = ready.with_suffix(".partial")
    partial.write_text(" ".join(str(child.pid) for child in multiprocessing.active_children()))
    partial.replace(ready)
    time.sleep(60)


def test_matchers_that_never_disagree_are_an_error(stage, tmp_path):
    """Without Y errors there are no correlations."""
    dem = tmp_path / "no_y.dem"
    noise = dataclasses.replace(qec.depolarizing(0.0), idle_cnot_x=0.01)
    circuit = qec.memory_circuit(distance=3, rounds=3, basis="z", noise=noise)
    circuit.detector_error_model(decompose_errors=True).to_file(dem)
    tasks = (TaskConfig(dem=str(dem), shots="disagreement"),)
    with pytest.raises(ValueError, match=r"no_y.dem disagreement: only 0 of .* shots .* raise p"):
        BatchMaker(dataclasses.replace(stage, tasks=tasks, seed=3))(0)


@pytest.mark.parametrize("labels", ["teacher", "observable-conditioned", "sampled"])
def test_disagreement_batches_are_labelled_as_any_others(stage, labels):
    """The maker's batch, without its process: the same every time, syndromes explained by their labels."""
    tasks = (dataclasses.replace(stage.tasks[0], shots="disagreement"),)
    data = dataclasses.replace(stage.data, labels=labels)
    streams, _ = expand_tasks(tasks)
    index, packed, labels, *_ = BatchMaker(dataclasses.replace(stage, tasks=tasks, data=data, seed=3))(7)
    repeated = BatchMaker(dataclasses.replace(stage, tasks=tasks, data=data, seed=3))(7)
    assert index == repeated[0]
    assert np.array_equal(packed, repeated[1])
    assert np.array_equal(labels, repeated[2])
    stream = streams[index]
    assert len(packed) == stream.batch_shots(data.blocks_per_batch)
    assert DisagreementShots(stream.dem)(packed).all()
    moves = np.unpackbits(labels, axis=1, count=stream.problem.moves.num_moves)
    explained = (moves @ stream.problem.moves.matrix.toarray().T) & 1
    detections = np.unpackbits(packed, axis=1, count=stream.problem.layout.num_detectors, bitorder="little")
    assert np.array_equal(explained, detections)


def test_distilled_labels_are_the_probabilities_of_the_network_that_is_named(stage, random_network, tmp_path):
    """The maker's batch against the network itself on the same shots; half precision on the way."""
    given = random_network(3)
    save_weights(given, tmp_path / "given.safetensors", {})
    data = dataclasses.replace(stage.data, labels="distilled", network=str(tmp_path / "given.safetensors"))
    batch = next(batches(dataclasses.replace(stage, data=data, seed=2), steps=range(1)))
    with torch.inference_mode():
        logits = given(batch.inputs)
    expected = (torch.sigmoid(logits) * batch.mask).numpy()
    assert expected[np.broadcast_to(batch.mask, expected.shape) > 0].std() > 0.1
    assert batch.labels is not None
    np.testing.assert_allclose(batch.labels, expected, atol=1e-3)


def test_a_task_that_begins_later_leaves_the_batches_before_as_they_were(stage):
    """None of it before its step, the same batches as without it until then, and some of it from then on."""
    late = TaskConfig(distance=5, rounds=2, p=0.02, weight=3.0, orientations=("XV",), begins=4)
    before, after = (
        BatchMaker(dataclasses.replace(stage, tasks=tasks, seed=3))
        for tasks in (stage.tasks, (*stage.tasks, late))
    )
    for k in range(4):
        (index, packed, labels, *_), expected = after(k), before(k)
        assert index == expected[0]
        assert np.array_equal(packed, expected[1])
        assert np.array_equal(labels, expected[2])
    streams, _ = expand_tasks((*stage.tasks, late))
    assert {streams[after(k)[0]].task.distance for k in range(4, 20)} == {3, 5}


@pytest.mark.slow
def test_a_killed_worker_ends_the_run_with_an_error(stage):
    """As when memory runs out; the batches before it are read, and nothing waits for ever."""
    data = dataclasses.replace(stage.data, blocks_per_batch=100_000, workers=1)
    large = dataclasses.replace(stage, data=data)
    made = batches(large, steps=range(1000))
    next(made)
    (worker,) = multiprocessing.active_children()
    worker.kill()
    begun = time.monotonic()
    with pytest.raises(RuntimeError, match=r"exit code -9; .* out of memory"):
        for _ in made:
            pass
    assert time.monotonic() - begun < 60
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_the_error_of_a_worker_ends_the_run(stage, capfd):
    data = dataclasses.replace(stage.data, workers=1)
    broken = dataclasses.replace(stage, data=data, tasks=(TaskConfig(dem="nothing.dem"),))
    made = batches(broken, steps=range(2))
    with pytest.raises(RuntimeError, match="exit code 1"):
        next(made)
    assert "nothing.dem" in capfd.readouterr().err


def test_mined_tasks_need_weights_to_mine_with(stage):
    tasks = (dataclasses.replace(stage.tasks[0], shots="mined"),)
    with pytest.raises(ValueError, match="mined, but there are no weights"):
        BatchMaker(dataclasses.replace(stage, tasks=tasks))(0)


def test_batches_come_with_the_true_observables(stage):
    """As the DEM's sampler gives them at the same seed."""
    made = BatchMaker(stage)(3)
    again = BatchMaker(stage)(3)
    assert np.array_equal(made.observables, again.observables)
    stream = expand_tasks(stage.tasks)[0][made.stream]
    flips = (
        np.unpackbits(made.labels, axis=1, count=stream.problem.moves.num_moves)
        @ stream.problem.moves.observables.T
    )
    assert np.array_equal(flips[:, 0] & 1, made.observables[:, 0])  # sampled labels tell the truth
    assert 0 < made.observables.sum() < len(made.observables)


@pytest.mark.parametrize(
    ("passes", "pool", "spacing"), [(1, 64, 63), (2, 2, 1), (2, 8, 7), (3, 8, 3), (4, 64, 21), (5, 5, 1)]
)
def test_batches_take_turns(passes, pool, spacing):
    """Each is used as often as it is to be, no sooner again than after `spacing` others; few are held."""
    reuse = Reuse(passes, pool)
    assert reuse.spacing == spacing
    steps = 40 * passes + 3 * pool * passes
    used = [reuse.batch_of(step) for step in range(steps)]
    if passes == 1:
        assert used == list(range(steps))
    uses = {batch: [step for step, other in enumerate(used) if other == batch] for batch in set(used)}
    assert sorted(uses) == list(range(max(used) + 1))
    for batch, when in uses.items():
        assert when[0] == reuse.first_use(batch)
        assert len(when) == passes or batch > max(used) - passes * spacing
        assert all(later - one > spacing - 1 for one, later in itertools.pairwise(when))
    for step in range(steps):
        later = used[step:]
        assert reuse.oldest(step) <= min(later)
        assert max(used[: step + 1]) == reuse.round_of(step)
        assert reuse.round_of(step) - reuse.oldest(step) < min(pool, reuse.span)
    # Fresh ones alone at first, then one in `passes`.
    assert used[:spacing] == list(range(spacing))
    assert reuse.round_of(steps - 1) - reuse.round_of(steps - 1 - 10 * passes) == 10


@pytest.mark.slow
@pytest.mark.parametrize(("start", "workers"), [(0, 0), (5, 2), (11, 0), (16, 2), (19, 0)])
def test_batches_that_are_used_twice_are_the_same_after_a_resumption(stage, start, workers):
    twice = dataclasses.replace(
        stage, data=dataclasses.replace(stage.data, passes=2, pool=8, workers=workers)
    )
    maker, reuse = BatchMaker(twice), Reuse(2, 8)
    for step, batch in zip(range(start, 21), batches(twice, steps=range(start, 21)), strict=True):
        made = maker(reuse.batch_of(step))
        assert made.stream == batch.stream
        assert np.array_equal(made.packed, batch.packed)


def test_shots_can_be_mined_with_other_weights(stage):
    """Then nothing of the network in training is needed, and two miners find different shots."""
    tasks = (dataclasses.replace(stage.tasks[0], shots="mined", bases=("x",), orientations=("XV",)),)
    made = []
    for miner in ("realtime", "realtime", "fast"):
        mined = dataclasses.replace(stage, tasks=tasks, class_loss=ClassLossConfig(miner=miner))
        assert not mined.mines
        made.append(BatchMaker(mined)(3).packed)
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


def test_a_mined_batch_depends_on_its_number_and_on_the_snapshot(stage, tmp_path):
    """In process: as many shots as any other batch, the same again, others with other weights."""
    tasks = (dataclasses.replace(stage.tasks[0], shots="mined", bases=("x",), orientations=("XV",)),)
    mined = dataclasses.replace(stage, tasks=tasks)
    state = TrainingRun(mined, device=torch.device("cpu")).ema
    made = []
    for folder, scale in (("a", 1.0), ("b", 1.0), ("c", 0.1)):
        snapshots = Snapshots(tmp_path / folder, every=10)
        snapshots.save(0, {name: scale * value for name, value in state.items()})
        made.append(BatchMaker(mined, snapshots=snapshots)(3).packed)
    assert len(made[0]) == expand_tasks(tasks)[0][0].batch_shots(stage.data.blocks_per_batch)
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])
