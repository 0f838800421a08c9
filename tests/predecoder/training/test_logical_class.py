"""Matchings of both logical classes are the best ones, and the loss has the gradient of their difference."""

import dataclasses

import numpy as np
import pymatching
import pytest
import scipy.sparse as sp
import torch

from predecoder.correction import MatchingDecision
from predecoder.training.logical_class import ClassMatching, logical_class_loss
from qec import LayoutError


def _columns(moves):
    """Moves that MEMORY detectors see: those that a path connects with the observable."""
    flips = np.asarray(moves.observables.todense())[0].astype(bool)
    near = np.zeros(moves.matrix.shape[0], dtype=bool)
    near[moves.ends[0, flips]] = True
    inside = moves.ends[:, moves.ends[1] >= 0]
    for _ in range(len(near)):
        grown = near.copy()
        for a, b in (inside, inside[::-1]):
            np.logical_or.at(grown, a, near[b])
        if np.array_equal(grown, near):
            break
        near = grown
    return np.flatnonzero(near[moves.ends[0]]), np.flatnonzero(near)


def _least_costs(moves, columns, detectors, logits):
    """Of all sets of moves: the least cost for every syndrome, and for both values of the observable."""
    rows = sp.vstack([moves.matrix[detectors], moves.observables[[0]]]).toarray()[:, columns].astype(np.int64)
    codes = rows.T @ (1 << np.arange(len(rows)))
    syndrome, cost = np.zeros(1, dtype=np.int32), np.zeros(1, dtype=np.float32)
    for code, logit in zip(codes, logits[columns], strict=True):
        syndrome = np.concatenate([syndrome, syndrome ^ np.int32(code)])
        cost = np.concatenate([cost, cost - logit])
    least = np.full(1 << len(rows), np.inf)
    np.minimum.at(least, syndrome, cost)
    return least.reshape(2, -1)


@pytest.mark.parametrize(("basis", "orientation"), [("x", "XV"), ("z", "ZH")])
def test_both_classes_are_the_best_of_all_sets_of_moves(model, basis, orientation):
    """Exhaustive search on d = 3, one round, every syndrome, random weights of either sign."""
    m = model(3, 1, basis, orientation)
    columns, detectors = _columns(m.moves)
    assert (len(columns), len(detectors)) == (22, 8)
    bits = np.zeros((1 << len(detectors), m.layout.num_detectors), dtype=np.uint8)
    bits[:, detectors] = (np.arange(len(bits))[:, None] >> np.arange(len(detectors))) & 1
    packed = np.packbits(bits, axis=1, bitorder="little")
    rng = np.random.default_rng(5)
    for mean in (-2.0, 0.0):
        logits = (mean + 3 * rng.normal(size=m.moves.num_moves)).astype(np.float32)
        best = _least_costs(m.moves, columns, detectors, logits)
        found = ClassMatching(m.moves).of_classes(np.tile(logits, (len(bits), 1)), packed)
        for observable, moves in enumerate(found):
            assert np.array_equal((moves @ m.moves.matrix.T) & 1, bits)
            assert np.array_equal((moves @ m.moves.observables.T)[:, 0] & 1, np.full(len(bits), observable))
            np.testing.assert_allclose(-(moves @ logits.astype(np.float64)), best[observable], atol=1e-4)


def _pymatching_costs(moves, columns, logits, bits, observable):
    """PyMatching with the observable as a detector, on flips of the moves with a positive logit.

    So no weight is negative: of parallel edges it then keeps the right one.
    """
    rows = sp.csc_matrix(sp.vstack([moves.matrix, moves.observables[[0]]])[:, columns])
    taken, logit = logits[columns] > 0, logits[columns].astype(np.float64)
    syndrome = np.append(bits, observable) ^ ((rows @ taken) & 1).astype(np.uint8)
    flipped = pymatching.Matching(rows, weights=np.abs(logit)).decode(syndrome)
    return -logit @ (taken ^ flipped.astype(bool))


@pytest.mark.parametrize(("distance", "rounds", "basis"), [(5, 5, "z"), (9, 6, "x")])
def test_both_classes_cost_what_pymatching_finds(model, distance, rounds, basis):
    """Logits as trained networks give them: few are positive."""
    m = model(distance, rounds, basis)
    columns, detectors = _columns(m.moves)
    packed, _, _ = m.dem.compile_sampler(seed=1).sample(12, bit_packed=True)
    bits = np.unpackbits(packed, axis=1, count=m.layout.num_detectors, bitorder="little")
    bits[:, np.setdiff1d(np.arange(bits.shape[1]), detectors)] = 0
    rng = np.random.default_rng(2)
    logits = (-5 + 2.5 * rng.normal(size=(len(packed), m.moves.num_moves))).astype(np.float32)
    for observable, moves in enumerate(ClassMatching(m.moves).of_classes(logits, packed)):
        cost = -(moves * logits.astype(np.float64)).sum(axis=1)
        expected = [
            _pymatching_costs(m.moves, columns, *shot, observable) for shot in zip(logits, bits, strict=True)
        ]
        np.testing.assert_allclose(cost, expected, atol=0.02)  # PyMatching rounds weights


def test_the_better_class_is_what_neural_matching_decides(model):
    m = model(5, 5)
    packed, _, _ = m.dem.compile_sampler(seed=2).sample(400, bit_packed=True)
    rng = np.random.default_rng(3)
    logits = (-4 + 3 * rng.normal(size=(len(packed), m.moves.num_moves))).astype(np.float32)
    gap = (logits.astype(np.float64) * ClassMatching(m.moves).difference(logits, packed)).sum(axis=1)
    assert ClassMatching(m.moves).gap(logits, packed) == pytest.approx(gap, abs=1e-3)
    limited = ClassMatching(m.moves).gap(logits, packed, limit=2.0)
    assert limited == pytest.approx(np.clip(gap, -2, 2), abs=1e-3)
    moves = MatchingDecision(m.problem)(logits, packed)
    decided = (moves @ m.moves.observables.T.toarray()).ravel() & 1
    sure = np.abs(gap) > 1e-3
    assert sure.sum() > 390
    assert np.array_equal(decided[sure], gap[sure] < 0)
    assert 20 < decided.sum() < 380


@pytest.mark.parametrize("sure", [True, False])
def test_the_gradient_is_that_of_finite_differences(model, sure):
    """Of the whole loss, matched anew at both ends: along the gradient, and along random directions.

    To the true classes, or to a teacher's probabilities.
    """
    m = model(3, 3)
    packed, truth, _ = m.dem.compile_sampler(seed=4).sample(40, bit_packed=True)
    matching, rng = ClassMatching(m.moves), np.random.default_rng(6)
    flips = (truth[:, 0] & 1).astype(float) if sure else rng.random(len(packed))
    logits = (-3 + 2 * rng.normal(size=(len(packed), m.moves.num_moves))).astype(np.float32)

    def loss(values):
        values = values.astype(np.float32)
        of_shots, _ = logical_class_loss(torch.from_numpy(values), matching.difference(values, packed), flips)
        return float(of_shots.double().mean())

    given = torch.from_numpy(logits).requires_grad_()
    of_shots, gap = logical_class_loss(given, matching.difference(logits, packed), flips)
    of_shots.mean().backward()
    assert given.grad is not None
    likelihood = torch.sigmoid(-gap.detach()).numpy()
    expected = -flips * np.log(likelihood) - (1 - flips) * np.log1p(-likelihood)
    np.testing.assert_allclose(of_shots.detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    gradient = given.grad.numpy()
    directions = [gradient / np.abs(gradient).max(), *rng.choice([-1.0, 1.0], size=(4, *logits.shape))]
    for direction in directions:
        step = 5e-4 * direction
        slope = (loss(logits + step) - loss(logits - step)) / 1e-3
        assert slope == pytest.approx(float((gradient * direction).sum()), rel=0.02, abs=0.005)


@pytest.mark.parametrize("basis", ["x", "z"])
@pytest.mark.parametrize("orientation", ["XV", "XH", "ZV", "ZH"])
@pytest.mark.parametrize("size", [(3, 2), (5, 1)])
def test_every_move_that_flips_the_observable_ends_on_the_boundary(model, size, basis, orientation):
    m = model(*size, basis, orientation)
    ClassMatching(m.moves)
    flips = np.asarray(m.moves.observables.todense())[0].astype(bool)
    assert flips.sum() == size[0] * m.layout.layers
    assert (m.moves.ends[1, flips] < 0).all()


def test_an_observable_in_the_bulk_is_refused(model):
    m = model()
    inside = int(np.flatnonzero(m.moves.ends[1] >= 0)[0])
    observables = m.moves.observables.tolil()
    observables[0, inside] = 1
    moves = dataclasses.replace(m.moves, observables=sp.csc_matrix(observables))
    with pytest.raises(LayoutError, match=r"L0: edge .* closes a cycle of edges between"):
        ClassMatching(moves)


def test_an_observable_along_another_line(model):
    """One that inner moves flip, too: the product with some stabilizers has the same classes."""
    m = model(3, 2)
    rng = np.random.default_rng(9)
    changed = rng.integers(0, 2, m.moves.matrix.shape[0])  # detectors
    flips = (m.moves.observables.toarray()[0] + changed @ m.moves.matrix.toarray()) % 2
    moves = dataclasses.replace(m.moves, observables=sp.csc_matrix(flips[None].astype(np.uint8)))
    assert (moves.ends[1, flips == 1] >= 0).any()
    packed, _, _ = m.dem.compile_sampler(seed=9).sample(40, bit_packed=True)
    bits = np.unpackbits(packed, axis=1, count=len(changed), bitorder="little")
    logits = rng.normal(-2, 2, size=(40, m.moves.num_moves)).astype(np.float32)
    other = bits @ changed % 2
    expected = ClassMatching(m.moves).gap(logits, packed) * (1 - 2 * other)
    assert ClassMatching(moves).gap(logits, packed) == pytest.approx(expected, abs=1e-3)


def test_of_several_observables_the_others_are_left_free(model):
    """Two observables on the same boundary: each one's classes are those that it has alone."""
    m = model(3, 2)
    twice = sp.csc_matrix(sp.vstack([m.moves.observables, m.moves.observables]))
    both = dataclasses.replace(m.moves, observables=twice)
    packed, _, _ = m.dem.compile_sampler(seed=8).sample(50, bit_packed=True)
    logits = np.random.default_rng(1).normal(size=(50, m.moves.num_moves)).astype(np.float32)
    alone = ClassMatching(m.moves).difference(logits, packed)
    for observable in (0, 1):
        assert np.array_equal(ClassMatching(both, observable).difference(logits, packed), alone)
