"""Training: deterministic, resumable, and it learns."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from predecoder.training.config import OptimizerConfig, TrainConfig, load_config
from predecoder.training.data import batches
from predecoder.training.loop import train

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
def test_a_checkpoint_of_another_run_is_refused(config, tmp_path):
    train(config, tmp_path / "run", device=torch.device("cpu"))
    changed = dataclasses.replace(config, seed=6)
    with pytest.raises(ValueError, match="was made with seed=5, the configuration says 6"):
        train(changed, tmp_path / "run", device=torch.device("cpu"))


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
    ],
)
def test_bad_configurations_are_named(tmp_path, text, reason):
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=reason):
        load_config(path)
