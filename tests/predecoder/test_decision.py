"""Chain decisions against a plain graph search, and their defining properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predecoder.blocking import block, unblock
from predecoder.decision import ChainDecision, DecisionConfig


def _reference(model, logits: np.ndarray, detections: np.ndarray, config: DecisionConfig) -> np.ndarray:
    """One shot by depth-first search over moves that share detectors."""
    columns = [set(model.moves.matrix[:, [k]].nonzero()[0].tolist()) for k in range(model.moves.num_moves)]
    value = logits.ravel()[model.moves.positions]
    open_moves = {k for k in range(len(value)) if value[k] > config.propose}
    committed = np.zeros(logits.shape, dtype=np.uint8)
    while open_moves:
        group, frontier = set(), [open_moves.pop()]
        while frontier:
            k = frontier.pop()
            group.add(k)
            linked = {m for m in open_moves if columns[m] & columns[k]}
            open_moves -= linked
            frontier += linked
        left = set()
        for k in group:
            left ^= columns[k]
        touched = set().union(*(columns[k] for k in group))
        left ^= {d for d in touched if detections[d]}
        sure = min(value[k] for k in group) >= config.commit
        if sure and (config.residue == "any" or not left):
            committed.ravel()[model.moves.positions[list(group)]] = 1
    return committed


@given(
    seed=st.integers(0, 2**32 - 1),
    commit=st.sampled_from([0.0, 0.3, 1.0]),
    residue=st.sampled_from(["any", "none"]),
    shift=st.sampled_from([-2.5, -1.5]),
)
def test_groups_stand_or_fall_together(model, seed, commit, residue, shift):
    m = model(3, 3)
    rng = np.random.default_rng(seed)
    logits = rng.normal(shift, 1.5, (3, 3, *m.layout.shape))
    detections = rng.integers(0, 2, (3, m.layout.num_detectors), dtype=np.uint8)
    config = DecisionConfig(commit=commit, residue=residue)  # pyright: ignore[reportArgumentType]
    got = unblock(ChainDecision(m.layout, config)(block(logits), detections))
    expected = [_reference(m, x, s, config) for x, s in zip(logits, detections, strict=True)]
    assert np.array_equal(got, expected)


def test_true_corrections_leave_nothing_and_are_all_committed(model):
    """Logits that know a full correction pass the strictest rule whole."""
    from predecoder.labels import TeacherLabels

    m = model(5, 5)
    packed, labels = TeacherLabels(m.dem, m.layout, m.moves).sample(50, seed=2)
    grid = np.full((50, 3, *m.layout.shape), -9.0)
    grid.reshape(50, -1)[:, m.moves.positions] = np.where(labels, 9.0, -9.0)
    detections = np.unpackbits(packed, axis=1, count=m.layout.num_detectors, bitorder="little")
    strict = ChainDecision(m.layout, DecisionConfig(commit=9.0, residue="none"))
    committed = unblock(strict(block(grid), detections)).reshape(50, -1)[:, m.moves.positions]
    assert np.array_equal(committed, labels)


@pytest.mark.parametrize("kwargs", [{"residue": "some"}, {"commit": -1.0}])
def test_bad_decisions_are_named(kwargs):
    ((name, value),) = kwargs.items()
    with pytest.raises(ValueError, match=f"{name}={value!r}"):
        DecisionConfig(**kwargs)
