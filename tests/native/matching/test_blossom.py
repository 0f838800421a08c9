"""Heaviest matchings by blossoms weigh what integer programming finds, whatever the graph."""

import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp

import _qecpipe


def _matched(vertices: int, ends: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Numbers of the edges of a heaviest matching, which every vertex agrees on."""
    ends, weights = ends.astype(np.int32), weights.astype(np.int64)
    edge_of = _qecpipe.heaviest_matching(vertices, ends, weights)
    edges = np.unique(edge_of[edge_of >= 0])
    covered = np.full(vertices, -1)
    covered[ends[edges]] = edges[:, None]
    assert np.array_equal(covered, edge_of)
    assert len(np.unique(ends[edges])) == 2 * len(edges)
    return edges


def _heaviest(vertices: int, ends: np.ndarray, weights: np.ndarray) -> int:
    touches = np.zeros((vertices, len(ends)))
    touches[ends.T, np.arange(len(ends))] = 1
    result = milp(
        -weights.astype(float),
        integrality=np.ones(len(ends)),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(touches, ub=1),
        options={"mip_rel_gap": 0},
    )
    return round(-result.fun)


def _odd_cycle(vertices: np.ndarray) -> np.ndarray:
    return np.stack([vertices, np.roll(vertices, 1)], axis=1)


def _check(vertices: int, ends: np.ndarray, weights: np.ndarray) -> None:
    assert weights[_matched(vertices, ends, weights)].sum() == _heaviest(vertices, ends, weights)


@pytest.mark.parametrize("seed", range(200))
def test_random_graphs(seed):
    """From sparse to complete, the weights from all the same to all different, parallel edges included."""
    rng = np.random.default_rng(seed)
    vertices = 2 + seed % 13
    every = np.stack(np.triu_indices(vertices, 1), axis=1)
    ends = every[rng.random(len(every)) < rng.choice([0.3, 0.6, 1.0])]
    ends = np.concatenate([ends, rng.permuted(every[rng.integers(len(every), size=2)], axis=1)])
    _check(vertices, ends, rng.integers(1, rng.choice([1, 2, 4, 12, 100_000]) + 1, len(ends)))


@pytest.mark.parametrize("seed", range(100))
def test_nested_odd_cycles(seed):
    """Heavy triangles on a ring of odd length, on a longer one: blossoms in blossoms, to be opened again."""
    rng = np.random.default_rng(seed)
    triangles = rng.permutation(9).reshape(3, 3)
    parts = [*map(_odd_cycle, triangles), _odd_cycle(triangles[:, 0])]
    parts.append(_odd_cycle(np.array([*triangles[:, 1], *range(9, 13)])))
    parts.append(rng.permuted(np.stack([rng.integers(9, 16, 8), rng.integers(0, 9, 8)], axis=1), axis=1))
    heavy = np.repeat([12, 12, 12, 11, 10, 9], [len(part) for part in parts])
    _check(16, np.concatenate(parts), heavy - rng.integers(0, 1 + seed % 4, len(heavy)))


@pytest.mark.parametrize("seed", range(40))
def test_triangles_joined_at_random(seed):
    """Of 96 vertices: blossoms have to be opened again in most of them, nested ones in many."""
    rng = np.random.default_rng(seed)
    triangles = np.concatenate([_odd_cycle(vertices) for vertices in np.arange(96).reshape(32, 3)])
    joints = np.array([rng.choice(96, 2, replace=False) for _ in range(150)])
    weights = [rng.integers(50, 101, 32).repeat(3), rng.integers(20, 81, 150)]
    _check(96, np.concatenate([triangles, joints]), np.concatenate(weights))


def test_a_long_odd_ring_of_one_weight():
    ring = _odd_cycle(np.arange(501))
    assert len(_matched(501, ring, np.full(501, 7))) == 250


def test_weights_are_not_rounded():
    """The two outer edges of a path weigh 2 more than a number near 2^52 in the middle, or 2 less."""
    path = np.array([[0, 1], [1, 2], [2, 3]])
    large = 2**52 + 1
    assert _matched(4, path, np.array([large // 2, large - 2, large // 2 + 1])).tolist() == [0, 2]
    assert _matched(4, path, np.array([large // 2, large + 2, large // 2 + 1])).tolist() == [1]


@pytest.mark.parametrize("vertices", [0, 1, 5])
def test_no_edges(vertices):
    assert len(_matched(vertices, np.zeros((0, 2)), np.zeros(0))) == 0
