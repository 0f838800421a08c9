"""Tasks unfold into streams; randomized noise differs in kind."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from predecoder.network import make_network
from predecoder.training import TaskConfig, load_config
from predecoder.training.losses import StageLoss
from predecoder.training.making import BatchMaker
from predecoder.training.randomized_noise import randomized_noise
from predecoder.training.tasks import Stream, expand_tasks
from predecoder.training.unpacking import Unpacker
from qec import depolarizing, memory_circuit, normal_form


def test_tasks_may_be_without_reset():
    task = TaskConfig(3, 4, p=0.006, reset=False, bases=("z",), orientations=("ZH",))
    ((stream,), _) = expand_tasks((task,))
    circuit = memory_circuit(
        distance=3, rounds=4, basis="z", orientation="ZH", noise=depolarizing(0.006), reset=False
    )
    assert stream.dem == circuit.detector_error_model(decompose_errors=True, approximate_disjoint_errors=True)
    with pytest.raises(ValueError, match="reset=1 is not true or false"):
        TaskConfig(3, reset=1)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="uniform-stim' has reset only"):
        TaskConfig(3, noise="uniform-stim", reset=False)


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


_PATCHES = """
loss = "logical-class"
network = { channels = 8, residual_blocks = 1 }
data = { labels = "teacher", blocks_per_batch = 100 }
[task]
orientations = ["XV", "ZH"]
[[tasks]]
distance = [3, 5]
noise = "si1000"
p = 0.004
[[tasks]]
distance = 4
rounds = [1, 3, 8]
p = 0.008
[[tasks]]
distance = [4, 3]
perfect_last_round = true
p = 0.008
noise = "randomized"
[[tasks]]
distance = 3
rounds = 4
reset = false
p = 0.008
"""


def test_rectangular_and_even_patches_are_tasks_like_others(tmp_path: Path):
    """As many detectors as such a patch has, labels that explain them, and a class loss with a gradient."""
    (tmp_path / "patches.toml").write_text(_PATCHES)
    (stage,) = load_config(tmp_path / "patches.toml").stages
    streams, _ = expand_tasks(stage.tasks)
    names = {stream.name for stream in streams}
    assert names == {
        "d3x5r5p0.004 si1000",
        *(f"d4r{rounds}p0.008" for rounds in (1, 3, 8)),
        "d4x3r4p0.008 randomized",
        "d3r4p0.008 without reset",
    }
    torch.manual_seed(1)
    network, loss_of = make_network(stage.network), StageLoss(stage, streams)
    maker, seen = BatchMaker(stage), set()
    for number in range(40):
        made = maker(number)
        if made.stream in seen:
            continue
        seen.add(made.stream)
        stream = streams[made.stream]
        circuit_detectors = memory_circuit(
            distance=stream.task.distance,
            rounds=stream.rounds,
            basis=stream.basis,  # pyright: ignore[reportArgumentType]
            noise=depolarizing(0.01),
            orientation=stream.orientation,  # pyright: ignore[reportArgumentType]
            perfect_last_round=stream.task.perfect_last_round,
            reset=stream.task.reset,
        ).num_detectors
        problem = stream.problem
        assert problem.layout.num_detectors == circuit_detectors
        moves = np.unpackbits(made.labels, axis=1, count=problem.moves.num_moves)
        detections = np.unpackbits(made.packed, axis=1, count=circuit_detectors, bitorder="little")
        assert np.array_equal((moves @ problem.moves.matrix.toarray().T) & 1, detections)
        batch = Unpacker(stream, torch.device("cpu"))(made)
        losses = loss_of(network(batch.inputs), batch)
        gradients = torch.autograd.grad(losses.total, list(network.parameters()), allow_unused=True)
        assert all(g.isfinite().all() for g in gradients if g is not None)
        assert sum(float(g.abs().sum()) for g in gradients if g is not None) > 0
    assert len({streams[index].name for index in seen}) == len(names)
