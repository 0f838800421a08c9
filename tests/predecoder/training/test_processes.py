"""Training by several processes: one network, as if one process had averaged the gradients."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from predecoder.training import Processes, StageConfig, load_config, train_stage
from predecoder.training.batches import batches
from predecoder.training.making import BatchMaker
from predecoder.training.run import TrainingRun
from predecoder.training.tasks import expand_tasks

_CPU = torch.device("cpu")
_TOML = """
name = "run"
seed = 5
checkpoint_seconds = 0
[network]
channels = 8
residual_blocks = 1
[optimizer]
steps = 4
warmup_steps = 2
stop = {stop}
[data]
labels = "sampled"
blocks_per_batch = 64
[[tasks]]
distance = 3
rounds = 3
p = 0.02
[[tasks]]
distance = 5
rounds = 2
p = 0.02
"""
_PROCESS = """
import sys, torch
from pathlib import Path
from predecoder.training import Processes, load_config, train

rank, folder = int(sys.argv[1]), Path(sys.argv[2])
device, processes = torch.device("cpu"), Processes(rank, 2)
torch.set_num_threads(1)
with processes.joined(f"file://{folder}/meeting", device):
    for config in ("until_2.toml", "until_4.toml"):
        network = train(load_config(folder / config), folder, device=device, processes=processes)
torch.save(network.state_dict(), folder / f"{rank}.pt")
"""


def _stage(folder: Path, stop: int = 4) -> StageConfig:
    path = folder / f"until_{stop}.toml"
    path.write_text(_TOML.format(stop=stop))
    (stage,) = load_config(path).stages
    return stage


def _averaged_by_hand(stage: StageConfig) -> TrainingRun:
    """One process that takes two batches a step."""
    run, settings = TrainingRun(stage, device=_CPU), stage.optimizer
    both = iter(batches(stage, steps=range(2 * settings.steps)))
    for step in range(settings.steps):
        for optimizer in run.optimizers:
            optimizer.zero_grad()
            optimizer.param_groups[0]["lr"] = settings.rate_at(step)
        for batch in (next(both), next(both)):
            inputs, labels = batch.inputs, batch.labels
            assert labels is not None
            exists = batch.mask.expand_as(labels) > 0
            loss = torch.nn.functional.binary_cross_entropy_with_logits
            (loss(run.network(inputs)[exists], labels[exists]) / 2).backward()
            run.samples += len(inputs)
        torch.nn.utils.clip_grad_norm_(run.network.parameters(), settings.max_gradient_norm)
        for optimizer in run.optimizers:
            optimizer.step()
    return run


@pytest.mark.slow
def test_two_processes_train_as_one_that_averages_two_batches(tmp_path):
    """Stopped and resumed on the way; the same bits in both; one log; the checkpoint is theirs alone."""
    stage, _ = _stage(tmp_path), _stage(tmp_path, stop=2)
    running = [subprocess.Popen([sys.executable, "-c", _PROCESS, str(r), str(tmp_path)]) for r in range(2)]
    assert [process.wait(timeout=300) for process in running] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    expected = _averaged_by_hand(stage)
    checkpoint = torch.load(tmp_path / "run" / "checkpoint.pt")
    for name, value in expected.network.state_dict().items():
        torch.testing.assert_close(checkpoint["network"][name], value, rtol=1e-4, atol=1e-5)
    assert checkpoint["counters"]["samples"] == expected.samples
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    with pytest.raises(ValueError, match="was made with processes=2, this run has 1; start 2 by torchrun"):
        train_stage(stage, tmp_path / "run", device=_CPU)


def test_processes_share_the_stream_of_batches_and_tasks_begin_by_steps(tmp_path):
    stage = _stage(tmp_path)
    late = dataclasses.replace(stage.tasks[1], begins=3)
    alone = BatchMaker(dataclasses.replace(stage, tasks=stage.tasks[:1], seed=3))
    for rank in range(2):
        maker = BatchMaker(
            dataclasses.replace(stage, tasks=(stage.tasks[0], late), seed=3), processes=Processes(rank, 2)
        )
        for step in range(3):
            assert np.array_equal(maker(step)[1], alone(2 * step + rank)[1])
        both = expand_tasks((stage.tasks[0], late))[0]
        assert {both[maker(step)[0]].task.distance for step in range(3, 20)} == {3, 5}


def test_a_rank_outside_the_world_is_an_error():
    with pytest.raises(ValueError, match="rank=2 is not one of world_size=2"):
        Processes(2, 2)
