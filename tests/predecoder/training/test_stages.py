"""Stages: deterministic, resumable, and they learn."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from predecoder.network import QuantizedSeparableConfig, QuantizedSeparableNetwork, SeparableConfig
from predecoder.training import ClassLossConfig, OptimizerConfig, TaskConfig, TrainConfig, train, train_stage
from predecoder.training.batches import batches, sample_inputs
from predecoder.training.losses import StageLoss
from predecoder.training.run import TrainingRun
from predecoder.training.snapshots import Snapshots
from predecoder.training.tasks import expand_tasks
from predecoder.weights import WeightsError, load_network, save_weights

from .conftest import trained_in_parts


def _states(network: torch.nn.Module) -> list[np.ndarray]:
    return [p.detach().numpy() for p in network.parameters()]


@pytest.mark.slow
def test_interrupted_training_equals_uninterrupted(stage, tmp_path):
    """Stopped by an exception and resumed: the same weights, bit for bit, and one log line a step."""
    device = torch.device("cpu")
    whole = train_stage(stage, tmp_path / "whole", device=device)
    resumed = trained_in_parts(stage, tmp_path / "parts", stop=4)
    for a, b in zip(_states(whole), _states(resumed), strict=True):
        assert np.array_equal(a, b)
    lines = [json.loads(line) for line in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_training_learns(stage, tmp_path):
    """A hundred steps on d = 3 circuits bring the loss well below that of the best constant answer."""
    losses = []
    data = dataclasses.replace(stage.data, blocks_per_batch=1000)
    optimizer = OptimizerConfig(steps=100, learning_rate=1e-2, warmup_steps=10)
    longer = dataclasses.replace(stage, data=data, optimizer=optimizer)
    train_stage(longer, tmp_path, device=torch.device("cpu"), on_step=lambda r: losses.append(r.loss))
    sample = next(batches(dataclasses.replace(longer, seed=0), steps=range(1)))
    assert sample.labels is not None
    density = float(sample.labels.sum() / (sample.mask.sum() * len(sample.labels)))
    constant = -density * np.log(density) - (1 - density) * np.log(1 - density)
    assert np.mean(losses[-10:]) < 0.8 * constant


@pytest.mark.slow
def test_a_checkpoint_of_another_run_is_refused(stage, tmp_path):
    train_stage(stage, tmp_path / "run", device=torch.device("cpu"))
    changed = dataclasses.replace(stage, seed=6)
    with pytest.raises(ValueError, match="was made with seed=5, the configuration says 6"):
        train_stage(changed, tmp_path / "run", device=torch.device("cpu"))


def test_bfloat16_trains_nearly_as_float32_does_and_says_so(stage, tmp_path):
    """The same batches: losses agree to a thousandth; weights that come out are computed with in float32."""
    seen: dict[str, list] = {"float32": [], "bfloat16": []}
    for precision, reports in seen.items():
        optimizer = dataclasses.replace(stage.optimizer, precision=precision)
        network = train_stage(
            dataclasses.replace(stage, optimizer=optimizer),
            tmp_path / precision,
            device=torch.device("cpu"),
            on_step=reports.append,
        )
        assert all(p.dtype == torch.float32 for p in network.parameters())
    exact, fast = ([report.loss for report in reports] for reports in seen.values())
    assert fast != exact
    assert fast == pytest.approx(exact, rel=1e-3)
    lines = [json.loads(line) for line in (tmp_path / "bfloat16" / "log.jsonl").read_text().splitlines()]
    assert {line["precision"] for line in lines} == {"bfloat16"}
    assert all(0 < line["update_seconds"] <= line["seconds"] for line in lines)


def test_a_network_to_distil_that_does_not_exist_is_named_before_anything_is_made(stage, tmp_path):
    data = dataclasses.replace(stage.data, labels="distilled", network="nothing.safetensors")
    with pytest.raises(WeightsError, match=r"'nothing\.safetensors' are neither a file nor a shipped name"):
        train_stage(dataclasses.replace(stage, data=data), tmp_path, device=torch.device("cpu"))


def test_added_residual_blocks_begin_as_the_identity(stage, model, random_network, tmp_path):
    given = random_network(1)
    save_weights(given, tmp_path / "given.safetensors", {})
    longer = dataclasses.replace(given.config, residual_blocks=3)
    run = TrainingRun(
        dataclasses.replace(stage, network=longer, init=str(tmp_path / "given.safetensors")),
        device=torch.device("cpu"),
    )
    x = torch.randn(2, 16, 3, 4, 4)
    with torch.no_grad():
        assert torch.equal(run.network(x), given(x))
    other = dataclasses.replace(longer, channels=16)
    with pytest.raises(ValueError, match="only residual blocks, noise features, a patch embedding"):
        TrainingRun(dataclasses.replace(run.stage, network=other), device=torch.device("cpu"))


def test_a_removal_head_begins_as_the_other_one_and_both_are_trained(stage, random_network, tmp_path):
    """From weights with one head; afterwards the heads differ, and the file has both."""
    given = random_network(1)
    save_weights(given, tmp_path / "given.safetensors", {})
    two = dataclasses.replace(
        stage,
        network=dataclasses.replace(given.config, removal_head=True),
        init=str(tmp_path / "given.safetensors"),
        loss="logical-class",
    )
    run = TrainingRun(two, device=torch.device("cpu"))
    x = torch.randn(2, 16, 3, 4, 4)
    with torch.no_grad():
        assert all(torch.equal(logits, given(x)) for logits in run.network.both(x))
    streams = expand_tasks(two.tasks)[0]
    batch = next(batches(two, steps=range(1)))
    run.update([batch], StageLoss(two, streams))
    heads = [run.network.head.weight, run.network.removal_head.weight]  # pyright: ignore
    assert not any(torch.equal(head, given.head.weight) for head in heads)
    assert not torch.equal(*heads)
    save_weights(run.network, tmp_path / "two.safetensors", {})
    again = load_network(tmp_path / "two.safetensors")
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in run.network.state_dict().items())


@pytest.mark.parametrize("separable", [False, True])
def test_a_noise_conditioned_network_begins_as_the_one_without(
    stage, random_network, separable_network, tmp_path, separable
):
    given = (separable_network if separable else random_network)(1)
    save_weights(given, tmp_path / "given.safetensors", {})
    told = dataclasses.replace(given.config, noise_conditioned=True)
    run = TrainingRun(
        dataclasses.replace(stage, network=told, init=str(tmp_path / "given.safetensors")),
        device=torch.device("cpu"),
    )
    x, features = torch.randn(2, 16, 3, 4, 4), torch.randn(1, 64, 3, 4, 4)
    with torch.no_grad():
        assert torch.equal(run.network(x, features), given(x))


@pytest.mark.slow
def test_noise_features_are_learnt_and_reach_the_quantized_ranges(stage, tmp_path):
    size = QuantizedSeparableConfig(16, 1, noise_conditioned=True)
    tasks = (
        TaskConfig(
            3, 3, p=0.02, noise="randomized", variants=2, perfect_last_round=True, orientations=("XV",)
        ),
    )
    network = train_stage(
        dataclasses.replace(stage, network=size, tasks=tasks), tmp_path, device=torch.device("cpu")
    )
    assert isinstance(network, QuantizedSeparableNetwork)
    assert network.noise_embedding is not None
    assert network.noise_embedding.weight.abs().sum() > 0
    assert (network.stream_range > 0).any()
    for inputs, features in sample_inputs(expand_tasks(tasks)[0], 64, seed=1):
        logits = network(inputs, features)
        assert not torch.equal(logits, network(inputs, torch.zeros_like(features)))


def test_a_checkpoint_from_before_tasks_had_all_their_fields_resumes(stage, tmp_path):
    run = TrainingRun(stage, device=torch.device("cpu"))
    run.step = 2
    run.save(tmp_path / "checkpoint.pt")
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    for task in state["stage"]["tasks"]:
        del task["variants"], task["perfect_last_round"]
    del state["stage"]["network"]["noise_conditioned"]
    torch.save(state, tmp_path / "checkpoint.pt")
    again = TrainingRun(stage, device=torch.device("cpu"))
    again.restore(tmp_path / "checkpoint.pt")
    assert again.step == 2


def test_training_ends_with_the_ranges_that_int8_needs(stage, model, tmp_path):
    """They do not change what is learnt, come with the weights, and can be left behind."""
    size = SeparableConfig(16, stage.network.residual_blocks)
    whole = dataclasses.replace(stage, network=QuantizedSeparableConfig(16, size.residual_blocks))
    network = train_stage(whole, tmp_path / "integers", device=torch.device("cpu"))
    plain = train_stage(
        dataclasses.replace(stage, network=size), tmp_path / "plain", device=torch.device("cpu")
    )
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in plain.state_dict().items())
    assert isinstance(network, QuantizedSeparableNetwork)
    assert (network.stream_range > 0).any()
    assert (network.hidden_range > 0).any()
    save_weights(network, tmp_path / "w.safetensors", {})
    again = load_network(tmp_path / "w.safetensors")
    assert isinstance(again, QuantizedSeparableNetwork)
    assert torch.equal(again.hidden_range, network.hidden_range)
    grown = dataclasses.replace(whole.network, residual_blocks=2)
    for wanted in (size, whole.network, grown):
        begun = dataclasses.replace(stage, network=wanted, init=str(tmp_path / "w.safetensors"))
        head = TrainingRun(begun, device=torch.device("cpu")).network.head.weight
        assert torch.equal(head, network.head.weight)


def test_learning_rate_schedule():
    schedule = OptimizerConfig(steps=100, learning_rate=1.0, warmup_steps=10, decay_fraction=0.5)
    assert schedule.rate_at(0) == pytest.approx(0.1)
    assert schedule.rate_at(30) == 1.0
    assert schedule.rate_at(75) == pytest.approx(0.5)
    assert schedule.rate_at(99) == pytest.approx(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("passes", [1, 2])
def test_an_interrupted_run_of_mined_shots_equals_an_uninterrupted_one(stage, tmp_path, passes):
    """Bit for bit, though its shots are mined with averaged weights of earlier steps; one log line a step."""
    tasks = (TaskConfig(3, p=0.03, shots="mined", bases=("x",), orientations=("XV",)),)
    mined = dataclasses.replace(
        stage,
        tasks=tasks,
        loss="logical-class",
        class_loss=ClassLossConfig(mine_every=2, small_gap=0.5),
        data=dataclasses.replace(stage.data, passes=passes, pool=2, workers=passes - 1),
        optimizer=dataclasses.replace(stage.optimizer, steps=18),
    )
    cpu, seen = torch.device("cpu"), []
    whole = train_stage(mined, tmp_path / "whole", device=cpu, on_step=seen.append)
    assert all(report.logical_class > 0 and 0 <= report.wrong <= 1 for report in seen)
    resumed = trained_in_parts(mined, tmp_path / "parts", stop=13)
    for a, b in zip(_states(whole), _states(resumed), strict=True):
        assert np.array_equal(a, b)
    lines = [json.loads(line) for line in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 19))
    # What later steps are mined with is there, and nothing else.
    left = sorted(int(path.stem.removeprefix("step-")) for path in (tmp_path / "parts" / "mining").iterdir())
    assert left == ([16, 18] if passes == 1 else [12, 14, 16, 18])


@pytest.mark.slow
def test_the_class_loss_makes_a_matched_network_better(stage, random_network, tmp_path):
    """From random weights, whose decoder is consistent and wrong in half of all shots."""
    given = random_network(3)
    save_weights(given, tmp_path / "given.safetensors", {})
    longer = dataclasses.replace(
        stage,
        init=str(tmp_path / "given.safetensors"),
        network=given.config,
        tasks=(TaskConfig(3, p=0.01, bases=("x",), orientations=("XV",)),),
        loss="logical-class",
        data=dataclasses.replace(stage.data, blocks_per_batch=1000),
        optimizer=OptimizerConfig(method="adamw", steps=60, learning_rate=1e-2, warmup_steps=5),
    )
    seen = []
    train_stage(longer, tmp_path / "run", device=torch.device("cpu"), on_step=seen.append)
    first, last = seen[:5], seen[-20:]
    assert np.mean([r.wrong for r in first]) > 0.35
    assert np.mean([r.wrong for r in last]) < 0.5 * np.mean([r.wrong for r in first])
    assert np.mean([r.logical_class for r in last]) < 0.5 * np.mean([r.logical_class for r in first])


def test_stages_follow_each_other(stage, tmp_path):
    """The second begins with the first one's weights, and a finished run is not done again."""
    short = dataclasses.replace(stage, optimizer=OptimizerConfig(steps=1, warmup_steps=0))
    longer = dataclasses.replace(
        short, name="second", network=dataclasses.replace(stage.network, residual_blocks=2)
    )
    still = dataclasses.replace(longer, optimizer=OptimizerConfig(steps=1, learning_rate=0.0))
    cpu, seen = torch.device("cpu"), []
    config = TrainConfig("two", (dataclasses.replace(short, name="first"), still))
    network = train(config, tmp_path, device=cpu, on_step=seen.append)
    assert [(report.stage, report.step) for report in seen] == [("first", 1), ("second", 1)]
    first = load_network(tmp_path / "first" / "weights.safetensors")
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in first.state_dict().items())
    again = train(config, tmp_path, device=cpu, on_step=lambda _: pytest.fail("nothing is left to do"))
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in network.state_dict().items())


@pytest.mark.parametrize("step", [0, 1, 9, 10, 19, 20, 25, 40])
def test_shots_are_mined_with_weights_of_one_to_two_periods_before(tmp_path, step):
    source = Snapshots(tmp_path, every=10).source_step(step)
    assert source % 10 == 0
    assert source == 0 if step < 20 else 10 <= step - source < 20


def test_a_snapshot_that_nobody_will_write_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"step 25 is to be mined with .*step-00000010"):
        Snapshots(tmp_path, every=10).wait_for(25)
