"""Tasks unfold into streams; randomized noise differs in kind."""

import dataclasses

import pytest

from predecoder.training import TaskConfig
from predecoder.training.randomized_noise import randomized_noise
from predecoder.training.tasks import Stream, expand_tasks
from qec import normal_form


def test_randomized_noise_differs_in_kind_and_not_in_how_much_is_seen():
    """By seed, the same each time; and every stream's DEM has its own."""
    tasks = (TaskConfig(5, 5, p=0.006, noise="randomized", variants=5, bases=("x",), orientations=("XV",)),)
    streams, weights = expand_tasks(tasks)
    assert weights == pytest.approx([0.2] * 5)
    plain = Stream(TaskConfig(5, 5, p=0.006), "x", "XV", rounds=5).dem
    density = [
        normal_form(dem).tables.firing_probabilities().mean() for dem in (plain, *(s.dem for s in streams))
    ]
    assert density[1:] == pytest.approx([density[0]] * 5, rel=0.01)
    assert len({str(s.dem) for s in streams}) == 5
    larger = TaskConfig(7, 7, noise="randomized", perfect_last_round=True)
    pair = [
        Stream(task, "z", "ZH", rounds=7).dem
        for task in (dataclasses.replace(larger, noise="depolarizing"), larger)
    ]
    there = [normal_form(dem).tables.firing_probabilities().mean() for dem in pair]
    assert there[1] == pytest.approx(there[0], rel=0.2)
    noise, variation = randomized_noise(0.006, seed=3)
    assert (noise, variation) == randomized_noise(0.006, seed=3)
    other, _ = randomized_noise(0.006, seed=4)
    assert noise.meas_x / noise.cnot_xx != pytest.approx(other.meas_x / other.cnot_xx, rel=0.1)
