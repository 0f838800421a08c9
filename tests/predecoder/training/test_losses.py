"""What a step minimizes: the truth's classes, a teacher's, and the marginals, as they are weighed."""

import dataclasses

import numpy as np
import pytest
import torch

from global_decoders import decode_with_gap
from predecoder import NeuralEnsembleDecoder
from predecoder.inference import EngineOptions, make_engine
from predecoder.training import ClassLossConfig
from predecoder.training.batches import batches
from predecoder.training.losses import StageLoss
from predecoder.training.making import BatchMaker
from predecoder.training.tasks import expand_tasks
from predecoder.weights import save_weights


@pytest.fixture
def taught(stage, random_network, tmp_path):
    """A stage whose moves' labels and classes come from `random_network(3)`."""
    save_weights(random_network(3), tmp_path / "teacher.safetensors", {})
    name = str(tmp_path / "teacher.safetensors")
    return dataclasses.replace(
        stage,
        loss="logical-class",
        data=dataclasses.replace(stage.data, labels="distilled", network=name),
        class_loss=ClassLossConfig(teacher=name, teacher_weight=1.0, marginal_weight=0.0),
    )


def _logits(network, batch):
    return network(batch.inputs)


def _batch(stage):
    return next(batches(stage, steps=range(1)))


@pytest.mark.parametrize("labels", ["distilled", "sampled"])
def test_the_teachers_gaps_are_those_of_its_logits(taught, random_network, labels):
    """With labels from the same network, and without; none where the stage has no class loss."""
    taught = dataclasses.replace(taught, data=dataclasses.replace(taught.data, labels=labels))
    made = BatchMaker(taught)(2)
    problem = expand_tasks(taught.tasks)[0][made.stream].problem
    logits = make_engine(problem, random_network(3), EngineOptions("cpu"))(made.packed)
    (matching,) = StageLoss(taught, expand_tasks(taught.tasks)[0]).matchings(made.stream)
    assert made.teacher_gaps is not None
    expected = (logits.astype(np.float64) * matching.difference(logits, made.packed)).sum(axis=1)
    np.testing.assert_allclose(made.teacher_gaps[:, 0], expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.5
    assert BatchMaker(dataclasses.replace(taught, loss="marginal"))(2).teacher_gaps is None


def test_an_ensemble_may_teach(taught):
    """Its log-odds are those of the decoder of that name, which one network does not have."""
    settings = dataclasses.replace(taught.class_loss, teacher_decoder="neural-ensemble")
    made = BatchMaker(dataclasses.replace(taught, class_loss=settings))(2)
    problem = expand_tasks(taught.tasks)[0][made.stream].problem
    ensemble = NeuralEnsembleDecoder(weights=settings.teacher).compile_decoder_for_dem(dem=problem.dem)
    expected = decode_with_gap(ensemble, made.packed).log_odds
    assert made.teacher_gaps is not None
    assert made.teacher_gaps.dtype == np.float32
    np.testing.assert_allclose(made.teacher_gaps, expected, rtol=1e-5)
    alone = BatchMaker(taught)(2).teacher_gaps
    assert alone is not None
    assert not np.allclose(made.teacher_gaps, alone, atol=0.1)


def test_who_knows_all_that_the_teacher_does_has_nothing_to_learn_from_it(taught, random_network):
    """The teacher itself: no gradient; another network, or another temperature, has one."""
    batch, streams = _batch(taught), expand_tasks(taught.tasks)[0]
    norms = []
    for seed, scale in ((3, 1.0), (3, 0.5), (4, 1.0)):
        settings = dataclasses.replace(taught.class_loss, teacher_scale=scale)
        loss_of = StageLoss(dataclasses.replace(taught, class_loss=settings), streams)
        logits = _logits(random_network(seed), batch).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss_of(logits, batch).total, logits)
        norms.append(float(gradient.norm()))
    assert norms[0] < 1e-4 * min(norms[1:])


def test_the_teacher_and_the_truth_are_weighed(taught, random_network):
    """The loss is linear in the weight, and what is logged is the truth's."""
    batch, streams = _batch(taught), expand_tasks(taught.tasks)[0]
    logits = _logits(random_network(4), batch).detach()
    losses = {}
    for weight in (0.0, 0.25, 1.0):
        settings = dataclasses.replace(taught.class_loss, teacher_weight=weight)
        losses[weight] = StageLoss(dataclasses.replace(taught, class_loss=settings), streams)(logits, batch)
    totals = {weight: float(loss.total) for weight, loss in losses.items()}
    assert totals[0.0] != pytest.approx(totals[1.0], rel=1e-2)
    assert totals[0.25] == pytest.approx(0.75 * totals[0.0] + 0.25 * totals[1.0], rel=1e-5)
    for loss in losses.values():
        assert loss.logical_class is not None
        assert float(loss.logical_class) == pytest.approx(totals[0.0], rel=1e-6)
    alone = dataclasses.replace(taught, class_loss=ClassLossConfig(marginal_weight=0.0))
    without = StageLoss(alone, streams)(logits, dataclasses.replace(batch, teacher_gaps=None))
    assert float(without.total) == totals[0.0]
    assert float(without.wrong) == float(losses[1.0].wrong)  # pyright: ignore[reportArgumentType]


def test_of_two_heads_one_learns_the_class_and_the_other_the_marginals(taught, random_network):
    """Losses add, and each head has the gradient of its own."""
    batch, streams = _batch(taught), expand_tasks(taught.tasks)[0]
    settings = dataclasses.replace(taught.class_loss, marginal_weight=0.0, removal_weight=0.3)
    loss_of = StageLoss(dataclasses.replace(taught, class_loss=settings), streams)
    logits, removal = (_logits(random_network(k), batch).detach().requires_grad_() for k in (4, 5))
    alone, both = loss_of(logits, batch), loss_of(logits, batch, removal)
    of_removal = StageLoss(dataclasses.replace(taught, loss="marginal"), streams)(removal, batch)
    assert torch.equal(both.marginal, of_removal.marginal)
    moves = float(batch.mask.sum())
    torch.testing.assert_close(both.total, alone.total + 0.3 * moves * of_removal.total)
    first, second = torch.autograd.grad(both.total, [logits, removal])
    assert torch.equal(first, torch.autograd.grad(alone.total, logits)[0])
    (own,) = torch.autograd.grad(of_removal.total, removal)
    torch.testing.assert_close(second, 0.3 * moves * own)
