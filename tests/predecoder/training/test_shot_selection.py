"""Disagreement shots, and mined ones."""

import numpy as np
import pymatching
import pytest

from predecoder.correction import MatchingDecision
from predecoder.training.shot_selection import DisagreementShots, MinedShots, ShotMatchers


def test_disagreement_shots_are_those_that_the_matchers_decide_differently(model):
    dem = model(3, 3).dem
    packed, _, _ = dem.compile_sampler(seed=3).sample(4000, bit_packed=True)
    disagreement = DisagreementShots(dem)(packed)
    plain = pymatching.Matching(dem).decode_batch(packed, bit_packed_shots=True)
    correlated = pymatching.Matching.from_detector_error_model(dem, enable_correlations=True)
    other = correlated.decode_batch(packed, bit_packed_shots=True, enable_correlations=True)
    assert np.array_equal(disagreement, (plain != other).ravel())
    assert 10 < disagreement.sum() < 400


@pytest.mark.parametrize("largest", [np.inf, 5.0, 0.0])
def test_mined_shots_are_those_and_the_ones_that_the_network_is_wrong_or_unsure_about(model, largest):
    """By the policy that matches whole, and by costs of both classes; only where plain matching is near."""
    m = model(3, 3)
    packed, _, _ = m.dem.compile_sampler(seed=3).sample(3000, bit_packed=True)
    rng = np.random.default_rng(1)
    of_shot = (4 * rng.normal(size=(len(packed), m.moves.num_moves))).astype(np.float32)
    of_row = {row.tobytes(): logits for row, logits in zip(packed, of_shot, strict=True)}
    of_shot = np.array([of_row[row.tobytes()] for row in packed])
    matchers, asked = ShotMatchers.of(m.problem), []
    (matching,) = matchers.classes

    def logits(rows):
        asked.append(len(rows))
        return np.array([of_row[row.tobytes()] for row in rows])

    kept = MinedShots(matchers, logits, small_gap=0.7, plain_gap=largest)(packed)
    zero, one = matching.of_classes(of_shot, packed)
    gap = (of_shot.astype(np.float64) * (zero.astype(int) - one)).sum(axis=1)
    decided = (MatchingDecision(m.problem)(of_shot, packed) @ m.moves.observables.T.toarray()).ravel() & 1
    correlated = matchers.correlated.decode_shots_bit_packed(bit_packed_detection_event_data=packed).ravel()
    plain = matchers.plain.gap(packed)
    near, disagrees = np.abs(plain) < largest, (plain < 0) != correlated
    sure = np.abs(plain) > 1e-3
    of_pymatching = DisagreementShots(m.dem)(packed)  # which breaks the many ties at d = 3 otherwise
    assert (disagrees != of_pymatching)[sure].mean() < 0.01
    expected = near & (disagrees | (decided != correlated) | (np.abs(gap) < 0.7))
    assert np.array_equal(kept, expected)
    assert sum(asked) == (near & ~disagrees).sum()
    assert 0 < kept.sum() < len(kept) or largest == 0
