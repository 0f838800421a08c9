"""A batch's bits become the tensors that the blocked grid's definition gives."""

import dataclasses

import numpy as np
import pytest
import torch

from predecoder.blocking import NetworkInput, block
from predecoder.training import TaskConfig
from predecoder.training.making import BatchMaker, Made
from predecoder.training.tasks import expand_tasks
from predecoder.training.unpacking import Unpacker

_CPU = torch.device("cpu")


def _blocked_moves(values, stream):
    """The definition: values on the move grid, folded into blocks."""
    moves, layout = stream.problem.moves, stream.problem.layout
    grid = np.zeros((len(values), layout.move_mask.size), dtype=np.float32)
    grid[:, moves.positions] = values
    return block(grid.reshape(len(values), *layout.move_mask.shape)).transpose(0, 4, 1, 2, 3)


@pytest.mark.parametrize(
    "task", [TaskConfig(3, 3, p=0.05), TaskConfig(5, 2, p=0.03), TaskConfig(4, 5, p=0.03)]
)
def test_detections_and_labels_stand_where_the_grid_says(stage, task):
    streams, _ = expand_tasks((task,))
    stage = dataclasses.replace(stage, tasks=(task,))
    made = BatchMaker(stage)(0)
    stream = streams[made.stream]
    batch = Unpacker(stream, _CPU)(made)
    expected = NetworkInput(stream.problem.layout)(made.packed)
    assert np.array_equal(batch.inputs.numpy(), expected.transpose(0, 4, 1, 2, 3))
    assert batch.inputs.is_contiguous(memory_format=torch.channels_last_3d)
    count = stream.problem.moves.num_moves
    bits = np.unpackbits(made.labels, axis=1, count=count)
    assert 0 < bits.sum() < bits.size
    assert batch.labels is not None
    assert np.array_equal(batch.labels.numpy(), _blocked_moves(bits, stream))
    assert np.array_equal(batch.mask.numpy(), _blocked_moves(np.ones((1, count)), stream))
    features = stream.noise_features.transpose(0, 4, 1, 2, 3)
    assert np.array_equal(batch.noise_features.numpy(), features)


def test_labels_may_be_probabilities_or_be_left_out(stage):
    stream = expand_tasks(stage.tasks)[0][0]
    made = BatchMaker(stage)(0)
    made = Made(0, made.packed, made.packed[:, :0], made.observables, None)
    unpacker, rng = Unpacker(stream, _CPU), np.random.default_rng(1)
    assert unpacker(made).labels is None
    given = rng.random((len(made.packed), stream.problem.moves.num_moves)).astype(np.float16)
    labels = unpacker(made._replace(labels=given)).labels
    assert labels is not None
    assert np.array_equal(labels.numpy(), _blocked_moves(given.astype(np.float32), stream))
