"""Training on a GPU: the same tensors as on a CPU, nearly the same losses, a run that ends and resumes."""

import dataclasses

import pytest
import torch

from predecoder.network import DenseConfig
from predecoder.training import ClassLossConfig, TaskConfig, train_stage
from predecoder.training.losses import StageLoss
from predecoder.training.making import BatchMaker
from predecoder.training.run import TrainingRun
from predecoder.training.tasks import expand_tasks
from predecoder.training.unpacking import Unpacker

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU"),
]


def test_bits_are_unpacked_to_the_same_tensors(stage):
    made = BatchMaker(stage)(0)
    stream = expand_tasks(stage.tasks)[0][made.stream]
    here, there = (Unpacker(stream, torch.device(name))(made) for name in ("cpu", "cuda"))
    for name in ("inputs", "labels", "mask", "noise_features"):
        assert torch.equal(getattr(here, name), getattr(there, name).cpu())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_step_has_nearly_the_losses_of_a_cpu(stage, precision):
    stage = dataclasses.replace(
        stage,
        loss="logical-class",
        data=dataclasses.replace(stage.data, batches_per_step=3, blocks_per_batch=500),
        optimizer=dataclasses.replace(stage.optimizer, precision=precision),
        class_loss=ClassLossConfig(threads=4),
    )
    streams, maker = expand_tasks(stage.tasks)[0], BatchMaker(stage)
    made, totals = [maker(number) for number in range(3)], []
    for name in ("cpu", "cuda"):
        device = torch.device(name)
        run, loss_of = TrainingRun(stage, device=device), StageLoss(stage, streams)
        batches = (Unpacker(streams[one.stream], device)(one) for one in made)
        totals.append(float(run.update(batches, loss_of).total))
    assert totals[0] == pytest.approx(totals[1], rel=1e-3 if precision == "float32" else 2e-2)


def test_a_run_is_made_by_workers_and_resumed(stage, tmp_path):
    stage = dataclasses.replace(
        stage,
        loss="logical-class",
        init="accurate",
        network=DenseConfig(channels=48, residual_blocks=6, time_fold=1, noise_conditioned=True),
        tasks=(TaskConfig(5, p=0.01, orientations=("XV",)),),
        data=dataclasses.replace(
            stage.data, labels="distilled", distilled_by="trainer", batches_per_step=2, workers=2
        ),
    )
    device, half = torch.device("cuda"), dataclasses.replace(stage.optimizer, stop=3)
    train_stage(dataclasses.replace(stage, optimizer=half), tmp_path, device=device)
    reports = []
    network = train_stage(stage, tmp_path, device=device, on_step=reports.append)
    assert [report.step for report in reports] == [4, 5, 6]
    assert all(p.isfinite().all() for p in network.parameters())
