"""The policy `consistent`: which clusters of a matching are committed, by hand, and what they leave."""

import math

import numpy as np
import pytest
import scipy.sparse.csgraph

from global_decoders.matching import Int8Logits
from predecoder.correction import (
    ConsistentDecision,
    ConsistentPolicy,
    MatchingDecision,
    Policies,
    make_decision,
)


@pytest.fixture(scope="module")
def shots(model):
    """A problem, and logits and detections of 60 shots."""
    m, rng = model(5, 3), np.random.default_rng(11)
    logits = rng.normal(-2.5, 2.5, (60, m.moves.num_moves)).astype(np.float32)
    packed, _, _ = m.dem.compile_sampler(seed=12).sample(60, bit_packed=True)
    return m, logits, packed


def _by_hand(m, logits: np.ndarray, moves: np.ndarray, leave_above: float) -> np.ndarray:
    """Cluster by cluster of one shot: moves proposed or matched, joined by the detectors they share."""
    proposed = logits > 0
    together = np.flatnonzero(proposed | (moves > 0))
    touched = m.moves.matrix[:, together].toarray().astype(int)
    count, cluster = scipy.sparse.csgraph.connected_components(touched.T @ touched)
    committed = np.zeros_like(moves)
    for k in range(count):
        members = together[cluster == k]
        flipped = members[proposed[members] != (moves[members] > 0)]
        if np.abs(logits[flipped]).sum() <= leave_above:
            committed[members] = moves[members]
    return committed


@pytest.mark.parametrize("leave_above", [0.0, 2.5, 9.0])
def test_clusters_are_committed_that_change_little(shots, leave_above):
    m, logits, packed = shots
    matched = MatchingDecision(m.problem)(logits, packed)
    expected = np.array(
        [_by_hand(m, row, moves, leave_above) for row, moves in zip(logits, matched, strict=True)]
    )
    decision = ConsistentDecision(m.problem, leave_above=leave_above)
    committed = decision(logits, packed)
    assert np.array_equal(committed, expected)
    assert 0 < committed.sum() < matched.sum()
    single = [decision(logits[k : k + 1], packed[k : k + 1])[0] for k in range(60)]
    assert np.array_equal(committed, np.array(single))


def test_what_is_committed_leaves_nothing_behind(shots):
    m, logits, packed = shots
    committed = ConsistentDecision(m.problem, leave_above=1.0)(logits, packed).astype(int)
    detections = np.unpackbits(packed, axis=1, count=m.layout.num_detectors, bitorder="little")
    matrix = m.moves.matrix.astype(int)
    touched = (matrix @ committed.T).T > 0
    assert touched.any()
    assert np.array_equal(((matrix @ committed.T).T % 2)[touched], detections[touched])


def test_the_policy_says_what_is_left(shots):
    m, logits, packed = shots
    matched = MatchingDecision(m.problem)(logits, packed)
    for leave_above, expected in ((math.inf, matched), (3.0, None)):
        policies = Policies(consistent=ConsistentPolicy(leave_above))
        assert Policies.from_dict(policies.to_dict()) == policies
        committed = make_decision(policies, "consistent", m.problem)(logits, packed)
        if expected is None:
            expected = ConsistentDecision(m.problem, leave_above=leave_above)(logits, packed)
        assert np.array_equal(committed, expected)
    with pytest.raises(ValueError, match=r"leave_above=-1\.0 is negative"):
        ConsistentPolicy(-1.0)


def test_logits_of_one_byte_and_no_moves(shots):
    m, logits, packed = shots
    small = Int8Logits(np.clip(np.round(8 * logits), -127, 127).astype(np.int8), 0.125)
    decision = ConsistentDecision(m.problem, leave_above=2.0)
    assert np.array_equal(decision(small, packed), decision(small.float32(), packed))
    nothing = decision(np.full_like(logits, -5.0), np.zeros_like(packed))
    assert nothing.shape == logits.shape
    assert not nothing.any()
