"""Training: deterministic, resumable, and it learns."""

import dataclasses
import json
import multiprocessing
import time
from pathlib import Path

import numpy as np
import pymatching
import pytest
import torch

import qec
from predecoder.network import NetworkConfig
from predecoder.training.config import OptimizerConfig, TaskConfig, TrainConfig, load_config
from predecoder.training.contested import Contested
from predecoder.training.data import Stream, _Maker, batches, expand_tasks, sample_inputs
from predecoder.training.loop import TrainingRun, train
from predecoder.training.varied import varied_noise
from predecoder.weights import WeightsError, load_network, save_weights
from qec import normal_form

_TOML = """
name = "tiny"
seed = 5
checkpoint_seconds = 0
[network]
channels = 8
residual_blocks = 1
[optimizer]
steps = 6
warmup_steps = 2
[data]
labels = "sampled"
blocks_per_batch = 64
[[tasks]]
distance = 3
rounds = 3
p = 0.02
orientations = ["XV", "ZH"]
"""


@pytest.fixture
def config(tmp_path) -> TrainConfig:
    path = tmp_path / "tiny.toml"
    path.write_text(_TOML)
    return load_config(path)


def _states(network: torch.nn.Module) -> list[np.ndarray]:
    return [p.detach().numpy() for p in network.parameters()]


@pytest.mark.slow
def test_interrupted_training_equals_uninterrupted(config, tmp_path):
    """Stopped by an exception and resumed: the same weights, bit for bit, and one log line a step."""
    device = torch.device("cpu")
    whole = train(config, tmp_path / "whole", device=device)

    class Stop(Exception):
        pass

    def interrupt(report):
        if report.step == 4:
            raise Stop

    with pytest.raises(Stop):
        train(config, tmp_path / "parts", device=device, on_step=interrupt)
    resumed = train(config, tmp_path / "parts", device=device)
    for a, b in zip(_states(whole), _states(resumed), strict=True):
        assert np.array_equal(a, b)
    lines = [json.loads(line) for line in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_training_learns(config, tmp_path):
    """A hundred steps on d = 3 circuits bring the loss well below that of the best constant answer."""
    losses = []
    data = dataclasses.replace(config.data, blocks_per_batch=1000)
    optimizer = OptimizerConfig(steps=100, learning_rate=1e-2, warmup_steps=10)
    longer = dataclasses.replace(config, data=data, optimizer=optimizer)
    train(longer, tmp_path, device=torch.device("cpu"), on_step=lambda r: losses.append(r.loss))
    sample = next(batches(config.tasks, data, seed=0, steps=range(1)))
    density = sample.labels.sum() / (sample.mask.sum() * len(sample.labels))
    constant = -density * np.log(density) - (1 - density) * np.log(1 - density)
    assert np.mean(losses[-10:]) < 0.8 * constant


@pytest.mark.slow
def test_batches_depend_on_seed_and_number_alone(config):
    def some(seed, steps):
        return [b.inputs for b in batches(config.tasks, config.data, seed=seed, steps=steps)]

    whole, tail, other = some(1, range(4)), some(1, range(2, 4)), some(2, range(2, 4))
    assert all(np.array_equal(a, b) for a, b in zip(whole[2:], tail, strict=True))
    assert not all(a.shape == b.shape and np.array_equal(a, b) for a, b in zip(tail, other, strict=True))


@pytest.mark.slow
def test_a_killed_trainer_leaves_no_workers(config, tmp_path):
    """Their queue is full by then, and nobody will read it."""
    ready = tmp_path / "ready"
    trainer = multiprocessing.get_context("spawn").Process(target=_read_one_batch, args=(config, ready))
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


def _read_one_batch(config: TrainConfig, ready: Path) -> None:
    more_than_a_pipe = dataclasses.replace(config.data, blocks_per_batch=100_000)
    made = batches(config.tasks, more_than_a_pipe, seed=1, steps=range(1000))
    next(made)
    time.sleep(3)
    partial = ready.with_suffix(".partial")
    partial.write_text(" ".join(str(child.pid) for child in multiprocessing.active_children()))
    partial.replace(ready)
    time.sleep(60)


@pytest.mark.slow
def test_a_checkpoint_of_another_run_is_refused(config, tmp_path):
    train(config, tmp_path / "run", device=torch.device("cpu"))
    changed = dataclasses.replace(config, seed=6)
    with pytest.raises(ValueError, match="was made with seed=5, the configuration says 6"):
        train(changed, tmp_path / "run", device=torch.device("cpu"))


def test_contested_shots_are_those_that_the_matchers_decide_differently(model):
    dem = model(3, 3).dem
    packed, _, _ = dem.compile_sampler(seed=3).sample(4000, bit_packed=True)
    contested = Contested(dem)(packed)
    plain = pymatching.Matching(dem).decode_batch(packed, bit_packed_shots=True)
    correlated = pymatching.Matching.from_detector_error_model(dem, enable_correlations=True)
    other = correlated.decode_batch(packed, bit_packed_shots=True, enable_correlations=True)
    assert np.array_equal(contested, (plain != other).ravel())
    assert 10 < contested.sum() < 400


def test_matchers_that_never_disagree_are_an_error(config, tmp_path):
    """Without Y errors there are no correlations."""
    dem = tmp_path / "no_y.dem"
    noise = dataclasses.replace(qec.depolarizing(0.0), idle_cnot_x=0.01)
    circuit = qec.memory_circuit(distance=3, rounds=3, basis="z", noise=noise)
    circuit.detector_error_model(decompose_errors=True).to_file(dem)
    tasks = (TaskConfig(dem=str(dem), contested=True),)
    with pytest.raises(ValueError, match=r"no_y.dem contested: only 0 of .* shots .* raise p"):
        _Maker(tasks, config.data, 3)(0)


@pytest.mark.parametrize("labels", ["teacher", "conditioned", "sampled"])
def test_contested_batches_are_labelled_as_any_others(config, labels):
    """The maker's batch, without its process: contested syndromes, explained by their labels, every time."""
    tasks = (dataclasses.replace(config.tasks[0], contested=True),)
    data = dataclasses.replace(config.data, labels=labels)
    streams, _ = expand_tasks(tasks)
    index, packed, labels = _Maker(tasks, data, 3)(7)
    repeated = _Maker(tasks, data, 3)(7)
    assert index == repeated[0]
    assert np.array_equal(packed, repeated[1])
    assert np.array_equal(labels, repeated[2])
    stream = streams[index]
    assert len(packed) == stream.batch_shots(data.blocks_per_batch)
    assert Contested(stream.dem)(packed).all()
    moves = np.unpackbits(labels, axis=1, count=stream.moves.num_moves)
    explained = (moves @ stream.moves.matrix.toarray().T) & 1
    detections = np.unpackbits(packed, axis=1, count=stream.layout.num_detectors, bitorder="little")
    assert np.array_equal(explained, detections)


def test_distilled_labels_are_the_probabilities_of_the_network_that_is_named(
    config, random_network, tmp_path
):
    """The maker's batch against the network itself on the same shots; half precision on the way."""
    given = random_network(3)
    save_weights(given, tmp_path / "given.safetensors", {})
    data = dataclasses.replace(config.data, labels="distilled", network=str(tmp_path / "given.safetensors"))
    batch = next(batches(config.tasks, data, seed=2, steps=range(1)))
    with torch.inference_mode():
        logits = given(torch.from_numpy(batch.inputs).permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1)
    expected = (torch.sigmoid(logits) * torch.from_numpy(batch.mask)).numpy()
    assert expected[np.broadcast_to(batch.mask, expected.shape) > 0].std() > 0.1
    np.testing.assert_allclose(batch.labels, expected, atol=1e-3)


def test_a_network_to_distil_that_does_not_exist_is_named_before_anything_is_made(config, tmp_path):
    data = dataclasses.replace(config.data, labels="distilled", network="nothing.safetensors")
    with pytest.raises(WeightsError, match=r"'nothing\.safetensors' are neither a file nor a shipped name"):
        train(dataclasses.replace(config, data=data), tmp_path, device=torch.device("cpu"))


def test_added_residual_blocks_begin_as_the_identity(config, model, random_network, tmp_path):
    given = random_network(1)
    save_weights(given, tmp_path / "given.safetensors", {})
    longer = dataclasses.replace(given.config, residual_blocks=3)
    run = TrainingRun(
        dataclasses.replace(config, network=longer, init=str(tmp_path / "given.safetensors")),
        device=torch.device("cpu"),
    )
    x = torch.randn(2, 16, 3, 4, 4)
    with torch.no_grad():
        assert torch.equal(run.network(x), given(x))
    other = dataclasses.replace(longer, channels=16)
    with pytest.raises(ValueError, match="only residual blocks, a geometry, rates and integers can be added"):
        TrainingRun(dataclasses.replace(run.config, network=other), device=torch.device("cpu"))


@pytest.mark.parametrize("separable", [False, True])
def test_a_network_that_is_told_of_the_noise_begins_as_one_that_is_not(
    config, random_network, separable_network, tmp_path, separable
):
    given = (separable_network if separable else random_network)(1)
    save_weights(given, tmp_path / "given.safetensors", {})
    told = dataclasses.replace(given.config, rates=True)
    run = TrainingRun(
        dataclasses.replace(config, network=told, init=str(tmp_path / "given.safetensors")),
        device=torch.device("cpu"),
    )
    x, rates = torch.randn(2, 16, 3, 4, 4), torch.randn(1, 64, 3, 4, 4)
    with torch.no_grad():
        assert torch.equal(run.network(x, rates), given(x))


@pytest.mark.slow
def test_rates_are_learnt_and_reach_the_ranges_of_integers(config, tmp_path):
    size = NetworkConfig(16, 1, 1, separable=True, rates=True, integers=True)
    tasks = (TaskConfig(3, 3, p=0.02, noise="varied", variants=2, perfect_last_round=True),)
    network = train(
        dataclasses.replace(config, network=size, tasks=tasks), tmp_path, device=torch.device("cpu")
    )
    assert network.noise is not None
    assert network.noise.weight.abs().sum() > 0
    assert (network.stream_range > 0).any()
    for inputs, rates in sample_inputs(expand_tasks(tasks)[0], 64, seed=1):
        logits = network(inputs, rates)
        assert not torch.equal(logits, network(inputs, torch.zeros_like(rates)))


def test_varied_noise_differs_in_kind_and_not_in_how_much_is_seen():
    """By seed, the same each time; and every stream's DEM has its own."""
    tasks = (TaskConfig(5, 5, p=0.006, noise="varied", variants=5, bases=("x",), orientations=("XV",)),)
    streams, weights = expand_tasks(tasks)
    assert weights == pytest.approx([0.2] * 5)
    plain = Stream(TaskConfig(5, 5, p=0.006), "x", "XV").dem
    density = [
        normal_form(dem).tables.firing_probabilities().mean() for dem in (plain, *(s.dem for s in streams))
    ]
    assert density[1:] == pytest.approx([density[0]] * 5, rel=0.01)
    assert len({str(s.dem) for s in streams}) == 5
    larger = TaskConfig(7, 7, noise="varied", perfect_last_round=True)
    plain = TaskConfig(7, 7, perfect_last_round=True)
    pair = [
        Stream(task, "z", "ZH").dem for task in (dataclasses.replace(larger, noise="depolarizing"), larger)
    ]
    there = [normal_form(dem).tables.firing_probabilities().mean() for dem in pair]
    assert there[1] == pytest.approx(there[0], rel=0.2)
    noise, variation = varied_noise(0.006, seed=3)
    assert (noise, variation) == varied_noise(0.006, seed=3)
    other, _ = varied_noise(0.006, seed=4)
    assert noise.meas_x / noise.cnot_xx != pytest.approx(other.meas_x / other.cnot_xx, rel=0.1)


def test_a_checkpoint_from_before_tasks_had_all_their_fields_resumes(config, tmp_path):
    run = TrainingRun(config, device=torch.device("cpu"))
    run.step = 2
    run.save(tmp_path / "checkpoint.pt")
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    for task in state["config"]["tasks"]:
        del task["variants"], task["perfect_last_round"]
    del state["config"]["network"]["rates"]
    torch.save(state, tmp_path / "checkpoint.pt")
    again = TrainingRun(config, device=torch.device("cpu"))
    again.restore(tmp_path / "checkpoint.pt")
    assert again.step == 2


def test_training_ends_with_the_ranges_that_the_integers_need(config, model, tmp_path):
    """They do not change what is learnt, come with the weights, and can be left behind."""
    size = dataclasses.replace(config.network, channels=16, separable=True, time_fold=1)
    whole = dataclasses.replace(config, network=dataclasses.replace(size, integers=True))
    network = train(whole, tmp_path / "integers", device=torch.device("cpu"))
    plain = train(dataclasses.replace(config, network=size), tmp_path / "plain", device=torch.device("cpu"))
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in plain.state_dict().items())
    assert (network.stream_range > 0).any()
    assert (network.hidden_range > 0).any()
    save_weights(network, tmp_path / "w.safetensors", {})
    again = load_network(tmp_path / "w.safetensors")
    assert torch.equal(again.hidden_range, network.hidden_range)
    grown = dataclasses.replace(whole.network, residual_blocks=2)
    for wanted in (size, whole.network, grown):
        begun = dataclasses.replace(config, network=wanted, init=str(tmp_path / "w.safetensors"))
        head = TrainingRun(begun, device=torch.device("cpu")).network.head.weight
        assert torch.equal(head, network.head.weight)


def test_a_task_that_begins_later_leaves_the_batches_before_as_they_were(config):
    """None of it before its step, the same batches as without it until then, and some of it from then on."""
    late = TaskConfig(distance=5, rounds=2, p=0.02, weight=3.0, orientations=("XV",), begins=4)
    before, after = _Maker(config.tasks, config.data, 3), _Maker((*config.tasks, late), config.data, 3)
    for k in range(4):
        (index, packed, labels), expected = after(k), before(k)
        assert index == expected[0]
        assert np.array_equal(packed, expected[1])
        assert np.array_equal(labels, expected[2])
    streams, _ = expand_tasks((*config.tasks, late))
    assert {streams[after(k)[0]].task.distance for k in range(4, 20)} == {3, 5}


def test_learning_rate_schedule():
    schedule = OptimizerConfig(steps=100, learning_rate=1.0, warmup_steps=10, decay_fraction=0.5)
    assert schedule.rate_at(0) == pytest.approx(0.1)
    assert schedule.rate_at(30) == 1.0
    assert schedule.rate_at(75) == pytest.approx(0.5)
    assert schedule.rate_at(99) == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("steps = [", "not a TOML file"),
        ("[network]\nwidth = 3", "unknown key 'width'; known keys are channels"),
        ("[network]\nchannels = 0", "channels=0"),
        ("[optimizer]\nsteps = 'many'", "steps='many' is not a number"),
        ("[data]\nlabels = 'guess'", "labels='guess' is unknown"),
        ("[[tasks]]\nweight = 0", "weight=0 is not positive"),
        ("[[tasks]]\ncontested = 1", "contested=1 is not true or false"),
        ("[[tasks]]\nbegins = -1", "begins=-1 is not a step"),
        ("[[tasks]]\nnoise = 'varied'\nvariants = 0", "variants=0 is not a whole number from 1"),
        ("[[tasks]]\nnoise = 'varied'\np = 0.05", "p=0.05 of noise='varied' is not above 0 and at most 0.02"),
        ("[[tasks]]\nnoise = 'varied'\ndem = 'a.dem'", "both noise='varied' and dem='a.dem'"),
        ("[[tasks]]\nvariants = 2", "variants=2 of noise='depolarizing'"),
        ("[[tasks]]\nnoise = 'uniform-stim'\nperfect_last_round = true", "has no perfect_last_round"),
        ("tasks = []", "run 'c' has no tasks"),
        ("[optimizer]\nsteps = 9\nstop = 2.5", "stop=2.5 is not a step from 0 to steps=9"),
        ("[optimizer]\nsteps = 9\nstop = 10", "stop=10 is not a step from 0 to steps=9"),
        ("[[tasks]]\nbegins = 7\n[[tasks]]\nbegins = 5", "begins at step 5; at least one must begin at 0"),
    ],
)
def test_bad_configurations_are_named(tmp_path, text, reason):
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=reason):
        load_config(path)
