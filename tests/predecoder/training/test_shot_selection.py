"""Disagreement shots, and mined ones."""

import numpy as np
import pymatching
import pytest
import stim

from predecoder.correction import MatchingDecision
from predecoder.training.logical_class import ClassMatching
from predecoder.training.shot_selection import DisagreementShots, MinedShots, PlainGap
from qec import LayoutError


def test_disagreement_shots_are_those_that_the_matchers_decide_differently(model):
    dem = model(3, 3).dem
    packed, _, _ = dem.compile_sampler(seed=3).sample(4000, bit_packed=True)
    disagreement = DisagreementShots(dem)(packed)
    plain = pymatching.Matching(dem).decode_batch(packed, bit_packed_shots=True)
    correlated = pymatching.Matching.from_detector_error_model(dem, enable_correlations=True)
    other = correlated.decode_batch(packed, bit_packed_shots=True, enable_correlations=True)
    assert np.array_equal(disagreement, (plain != other).ravel())
    assert 10 < disagreement.sum() < 400


def test_the_plain_gap_decides_as_plain_matching_and_is_the_difference_of_two_costs(model):
    """Against the least cost of either class by PyMatching on a graph that was made by hand."""
    m = model(3, 3)
    packed, _, _ = m.dem.compile_sampler(seed=3).sample(1000, bit_packed=True)
    gaps = PlainGap(m.dem)(packed)
    assert gaps.shape == (1000, 1)
    graph = pymatching.Matching()
    n = m.layout.num_detectors
    for u, v, attributes in pymatching.Matching(m.dem).edges():
        flips = bool(attributes["fault_ids"])
        assert v is None or not flips
        if v is not None:
            graph.add_edge(u, v, weight=attributes["weight"])
        elif flips:
            graph.add_edge(u, n, weight=attributes["weight"], merge_strategy="smallest-weight")
        else:
            graph.add_boundary_edge(u, weight=attributes["weight"])
    bits = np.unpackbits(packed, axis=1, count=n, bitorder="little")
    for shot, gap in zip(bits[:100], gaps[:100, 0], strict=True):
        zero, one = (graph.decode(np.append(shot, k), return_weight=True)[1] for k in (0, 1))
        assert gap == pytest.approx(one - zero, abs=1e-3)
    plain = pymatching.Matching(m.dem).decode_batch(packed, bit_packed_shots=True).ravel()
    sure = np.abs(gaps[:, 0]) > 1e-3
    assert sure.sum() > 800
    assert np.array_equal(gaps[sure, 0] < 0, plain[sure])


def test_of_two_observables_each_has_the_gap_that_it_has_alone(model):
    """The second is the first once more, with a name of its own."""
    dem = model(3, 3).dem
    packed, _, _ = dem.compile_sampler(seed=3).sample(300, bit_packed=True)
    gaps = PlainGap(stim.DetectorErrorModel(str(dem).replace("L0", "L0 L1")))(packed)
    assert np.array_equal(gaps[:, :1], PlainGap(dem)(packed))
    assert np.array_equal(gaps[:, 0], gaps[:, 1])


def test_a_component_that_is_no_edge_with_its_observable_is_refused():
    dem = stim.DetectorErrorModel("error(0.1) D0 D1 L0\nerror(0.1) D0\nerror(0.1) D1")
    with pytest.raises(LayoutError, match="flips observable L0 and 2 detectors"):
        PlainGap(dem)


@pytest.mark.parametrize("largest", [np.inf, 5.0, 0.0])
def test_mined_shots_are_those_and_the_ones_that_the_network_is_wrong_or_unsure_about(model, largest):
    """By the policy that matches whole, and by costs of both classes; only where plain matching is near."""
    m = model(3, 3)
    packed, _, _ = m.dem.compile_sampler(seed=3).sample(3000, bit_packed=True)
    rng = np.random.default_rng(1)
    of_shot = (4 * rng.normal(size=(len(packed), m.moves.num_moves))).astype(np.float32)
    of_row = {row.tobytes(): logits for row, logits in zip(packed, of_shot, strict=True)}
    of_shot = np.array([of_row[row.tobytes()] for row in packed])
    disagreement, plain_gap, matching = DisagreementShots(m.dem), PlainGap(m.dem), ClassMatching(m.moves)
    asked = []

    def logits(rows):
        asked.append(len(rows))
        return np.array([of_row[row.tobytes()] for row in rows])

    mined = MinedShots(disagreement, plain_gap, [matching], logits, small_gap=0.7, largest_plain_gap=largest)
    kept = mined(packed)
    zero, one = matching.of_classes(of_shot, packed)
    gap = (of_shot.astype(np.float64) * (zero.astype(int) - one)).sum(axis=1)
    moves = MatchingDecision(m.problem)(of_shot, packed)
    decided = (moves @ m.moves.observables.T.toarray()).ravel() & 1
    correlated = disagreement.correlated(packed).ravel()
    plain = plain_gap(packed)[:, 0]
    near, disagrees = np.abs(plain) < largest, (plain < 0) != correlated
    assert np.array_equal(disagrees[np.abs(plain) > 1e-3], disagreement(packed)[np.abs(plain) > 1e-3])
    expected = near & (disagrees | (decided != correlated) | (np.abs(gap) < 0.7))
    assert np.array_equal(kept, expected)
    assert sum(asked) == (near & ~disagrees).sum()
    assert 0 < kept.sum() < len(kept) or largest == 0
