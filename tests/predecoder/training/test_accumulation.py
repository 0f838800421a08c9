"""Steps of several batches: their mean gradient, whoever makes the batches and however many threads match."""

import dataclasses
import json
import threading
import time
from concurrent.futures import Future

import numpy as np
import pytest
import torch

from predecoder.inference import EngineOptions, make_engine
from predecoder.training import ClassLossConfig, TaskConfig, train_stage
from predecoder.training.batches import batches
from predecoder.training.device_labels import DeviceLabels
from predecoder.training.losses import StageLoss
from predecoder.training.making import BatchMaker
from predecoder.training.minutes import Minutes
from predecoder.training.processes import ALONE, Processes
from predecoder.training.run import TrainingRun
from predecoder.training.tasks import expand_tasks
from predecoder.training.unpacking import Unpacker
from predecoder.weights import load_network, save_weights

from .conftest import trained_in_parts

_CPU = torch.device("cpu")


def _with(stage, **data):
    return dataclasses.replace(stage, data=dataclasses.replace(stage.data, **data))


def _made_here(stage, numbers):
    """Batches without processes."""
    maker, streams = BatchMaker(stage), expand_tasks(stage.tasks)[0]
    made = [maker(number) for number in numbers]
    return [Unpacker(streams[one.stream], _CPU)(one) for one in made]


@pytest.mark.parametrize("loss", ["marginal", "logical-class"])
def test_a_step_of_three_batches_has_the_mean_of_their_gradients(stage, loss):
    stage = dataclasses.replace(_with(stage, batches_per_step=3), loss=loss, seed=3)
    streams, three = expand_tasks(stage.tasks)[0], _made_here(stage, range(3))
    run = TrainingRun(stage, device=_CPU)
    parameters, loss_of = list(run.network.parameters()), StageLoss(stage, streams)
    totals = [loss_of(run.network(batch.inputs), batch).total for batch in three]
    expected = torch.autograd.grad(torch.stack(totals).mean(), parameters)
    done = run.update(three, loss_of)
    norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in expected]))
    for parameter, gradient in zip(parameters, expected, strict=True):
        clipped = gradient * min(1.0, stage.optimizer.max_gradient_norm / float(norm))
        torch.testing.assert_close(parameter.grad, clipped, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(done.total, torch.stack(totals).mean().detach(), rtol=1e-5, atol=0)
    assert run.samples == sum(len(batch.inputs) for batch in three)


def test_logits_of_later_batches_are_there_before_the_first_ones_matchings(stage):
    """So that the device has work meanwhile; gradients are added in the order of the batches all the same."""
    stage = dataclasses.replace(_with(stage, batches_per_step=4), loss="logical-class")
    order, batches_of_step = [], _made_here(stage, range(4))

    class Slow(StageLoss):
        def begin(self, logits, batch, removal=None):
            order.append(("begin", batches_of_step.index(batch)))
            return super().begin(logits, batch, removal)

        def end(self, pending):
            order.append(("end", batches_of_step.index(pending.batch)))
            return super().end(pending)

    TrainingRun(stage, device=_CPU).update(batches_of_step, Slow(stage, expand_tasks(stage.tasks)[0]))
    assert [number for what, number in order if what == "end"] == [0, 1, 2, 3]
    assert order.index(("begin", 2)) < order.index(("end", 0))
    assert order.index(("end", 0)) < order.index(("begin", 3))


def test_matchings_are_made_in_threads_and_waited_for(stage):
    """None is waited for at the beginning; threads do not change the loss."""
    stage = dataclasses.replace(stage, loss="logical-class", class_loss=ClassLossConfig(threads=3))
    (batch,) = _made_here(stage, [0])
    streams = expand_tasks(stage.tasks)[0]
    logits = TrainingRun(stage, device=_CPU).network(batch.inputs)
    loss_of, go = StageLoss(stage, streams), threading.Event()
    (matching,) = loss_of.matchings(batch.stream)
    difference, names = matching.difference, set()

    def slow(logits, packed):
        names.add(threading.current_thread().name)
        assert go.wait(10)
        return difference(logits, packed)

    matching.difference = slow  # pyright: ignore[reportAttributeAccessIssue]
    pending = loss_of.begin(logits, batch)
    ((first, *_),) = pending.differences
    assert isinstance(first, Future)
    assert not first.done()
    go.set()
    found = loss_of.end(pending)
    assert len(names) == 3
    assert all(name.startswith("matching") for name in names)
    assert loss_of.waited > 0
    alone = StageLoss(dataclasses.replace(stage, class_loss=ClassLossConfig()), streams)(logits, batch)
    assert torch.equal(found.total, alone.total)


@pytest.mark.slow
def test_workers_and_threads_change_no_weight_and_a_run_goes_on_with_others(stage, tmp_path):
    """Bit for bit: one worker and thread, three and four, and a run that is stopped and gets others."""
    stage = dataclasses.replace(
        _with(stage, batches_per_step=3, passes=2, pool=4),
        loss="logical-class",
        tasks=(
            TaskConfig(3, p=0.03, shots="mined", bases=("x",), orientations=("XV",)),
            TaskConfig(3, (2, 4), p=0.02, begins=2),
        ),
        class_loss=ClassLossConfig(mine_every=2, small_gap=0.5),
    )
    threads = dataclasses.replace(stage.class_loss, threads=4)
    more = dataclasses.replace(_with(stage, workers=3), class_loss=threads)
    one = train_stage(stage, tmp_path / "one", device=_CPU)
    many = train_stage(more, tmp_path / "many", device=_CPU)
    resumed = trained_in_parts(stage, tmp_path / "parts", stop=3, first=more)
    for name, value in one.state_dict().items():
        assert torch.equal(value, many.state_dict()[name])
        assert torch.equal(value, resumed.state_dict()[name])
    lines = [json.loads(line) for line in (tmp_path / "many" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert all(0 <= line["matching_seconds"] <= line["update_seconds"] for line in lines)
    averaged = load_network(tmp_path / "many" / "averaged.safetensors")
    assert all(torch.equal(v, averaged.state_dict()[k]) for k, v in many.state_dict().items())
    with pytest.raises(ValueError, match="was made with data="):
        train_stage(_with(stage, batches_per_step=2), tmp_path / "one", device=_CPU)


def test_a_task_begins_at_its_step_whatever_a_step_has_of_batches(stage):
    late = TaskConfig(distance=5, rounds=2, p=0.02, weight=1e6, orientations=("XV",), begins=2)
    stage = dataclasses.replace(_with(stage, batches_per_step=3), tasks=(*stage.tasks, late))
    maker, streams = BatchMaker(stage), expand_tasks(stage.tasks)[0]
    distances = [streams[maker(number).stream].task.distance for number in range(8)]
    assert distances == [3] * 6 + [5] * 2


def test_labels_that_the_trainer_makes_are_those_of_workers(stage, random_network, tmp_path):
    """But for the rounding of float16; workers send none."""
    save_weights(random_network(3), tmp_path / "given.safetensors", {})
    named = _with(stage, labels="distilled", network=str(tmp_path / "given.safetensors"))
    of_trainer = _with(named, distilled_by="trainer")
    made, without = BatchMaker(named)(1), BatchMaker(of_trainer)(1)
    assert without.labels.shape == (len(made.labels), 0)
    assert np.array_equal(made.packed, without.packed)
    assert np.array_equal(made.observables, without.observables)
    (expected,), (bare,) = _made_here(named, [1]), _made_here(of_trainer, [1])
    labels = DeviceLabels(named.data.network, device=_CPU, precision="float32")(bare).labels
    assert labels is not None
    torch.testing.assert_close(labels, expected.labels, rtol=0, atol=1e-3)
    with pytest.raises(ValueError, match="a batch without labels has no loss"):
        StageLoss(of_trainer, expand_tasks(stage.tasks)[0])(bare.inputs[:, :1], bare)
    problem = expand_tasks(stage.tasks)[0][made.stream].problem
    logits = make_engine(problem, random_network(3), EngineOptions("cpu"))(made.packed)
    assert float(labels.sum()) == pytest.approx(
        float(torch.sigmoid(torch.from_numpy(logits)).sum()), rel=1e-3
    )
    run = TrainingRun(of_trainer, device=_CPU)
    assert run.update([bare], StageLoss(of_trainer, expand_tasks(stage.tasks)[0])).total.isfinite()


def test_batches_come_a_step_at_a_time_and_workers_end_with_their_reader(stage):
    several = _with(stage, batches_per_step=2, workers=2)
    made = batches(several, steps=range(1, 3))
    seen = [next(made) for _ in range(4)]
    assert list(made) == []
    for batch, expected in zip(seen, _made_here(several, range(2, 6)), strict=True):
        assert torch.equal(batch.inputs, expected.inputs)


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_minutes_become_steps_after_a_quarter_of_them(stage, monkeypatch):
    """Ten seconds to begin with, then two steps a second: of 100 s, 90 are left for 180 steps in all."""
    clock = _Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    length, run = Minutes.given(100 / 60, stage, ALONE), TrainingRun(stage, device=_CPU)
    length.resume(run)
    clock.now += 10
    while run.fixed_steps is None:
        run.step += 1
        clock.now += 0.5
        assert run.stage.optimizer.rate_at(run.step) == stage.optimizer.learning_rate or run.step < 2
        length.after(run)
    assert clock.now - 100 == pytest.approx(25, abs=1)
    assert run.fixed_steps == pytest.approx(180, abs=3)
    assert run.stage.optimizer.steps == run.fixed_steps
    assert run.stage.optimizer.rate_at(run.fixed_steps - 1) < 0.05 * stage.optimizer.learning_rate


def test_a_first_step_that_takes_all_the_minutes_is_followed_by_one_more(stage, monkeypatch):
    clock = _Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    length, run = Minutes.given(1.0, stage, ALONE), TrainingRun(stage, device=_CPU)
    length.resume(run)
    run.step, clock.now = 1, clock.now + 200
    length.after(run)
    assert run.fixed_steps == run.stage.optimizer.steps == 2


def test_minutes_that_cannot_be(stage):
    with pytest.raises(ValueError, match="minutes=0 is not positive"):
        Minutes.given(0, stage, ALONE)
    with pytest.raises(ValueError, match="each of 2 processes"):
        Minutes.given(1, stage, Processes(0, 2))
    early = dataclasses.replace(stage.optimizer, decay_fraction=0.9)
    with pytest.raises(ValueError, match=r"decay_fraction=0.9 .* at most 0.75"):
        Minutes.given(1, dataclasses.replace(stage, optimizer=early), ALONE)


@pytest.mark.slow
def test_a_run_of_minutes_ends_in_time_and_keeps_its_steps_when_it_is_resumed(stage, tmp_path):
    begun = time.monotonic()
    train_stage(stage, tmp_path, device=_CPU, minutes=0.2)
    # The number of steps is fixed early, from their pace: a machine that is less busy later ends early.
    assert time.monotonic() - begun > 6
    steps = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["counters"]["fixed_steps"]
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert len(lines) == steps
    assert json.loads(lines[-1])["learning_rate"] < stage.optimizer.learning_rate
    train_stage(stage, tmp_path, device=_CPU, minutes=0.2, on_step=lambda _: pytest.fail("nothing is left"))
