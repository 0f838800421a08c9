"""Disagreement shots, and mined ones."""

import numpy as np
import pymatching

from predecoder.correction import MatchingDecision
from predecoder.training.logical_class import ClassMatching
from predecoder.training.shot_selection import DisagreementShots, MinedShots


def test_disagreement_shots_are_those_that_the_matchers_decide_differently(model):
    dem = model(3, 3).dem
    packed, _, _ = dem.compile_sampler(seed=3).sample(4000, bit_packed=True)
    disagreement = DisagreementShots(dem)(packed)
    plain = pymatching.Matching(dem).decode_batch(packed, bit_packed_shots=True)
    correlated = pymatching.Matching.from_detector_error_model(dem, enable_correlations=True)
    other = correlated.decode_batch(packed, bit_packed_shots=True, enable_correlations=True)
    assert np.array_equal(disagreement, (plain != other).ravel())
    assert 10 < disagreement.sum() < 400


def test_mined_shots_are_those_and_the_ones_that_the_network_is_wrong_or_unsure_about(model):
    """By the policy that matches whole, and by costs of both classes."""
    m = model(3, 3)
    packed, _, _ = m.dem.compile_sampler(seed=3).sample(3000, bit_packed=True)
    rng = np.random.default_rng(1)
    of_shot = (4 * rng.normal(size=(len(packed), m.moves.num_moves))).astype(np.float32)
    disagreement, matching = DisagreementShots(m.dem), ClassMatching(m.moves)
    kept = MinedShots(disagreement, [matching], lambda _: of_shot, small_gap=0.7)(packed)
    zero, one = matching.of_classes(of_shot, packed)
    gap = (of_shot.astype(np.float64) * (zero.astype(int) - one)).sum(axis=1)
    moves = MatchingDecision(m.problem)(of_shot, packed)
    decided = (moves @ m.moves.observables.T.toarray()).ravel() & 1
    correlated = disagreement.predictions(packed)[1].ravel()
    expected = disagreement(packed) | (decided != correlated) | (np.abs(gap) < 0.7)
    assert np.array_equal(kept, expected)
    assert 0 < kept.sum() < len(kept)
