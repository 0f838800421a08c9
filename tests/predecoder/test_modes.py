"""What a network's mode makes of its logits."""

import numpy as np
import pytest

from predecoder.decision import DecisionConfig
from predecoder.matching import MatchedDecision
from predecoder.modes import doubt_of, make_decision


@pytest.mark.parametrize("factor", [0.0, 0.5, 3.0])
def test_conservative_shots_may_cost_what_the_network_says(model, random_network, factor):
    m, network, rng = model(7, 3), random_network(1), np.random.default_rng(3)
    network.conservative = DecisionConfig(doubt=factor)
    logits = rng.normal(-3, 2, (60, m.moves.num_moves)).astype(np.float32)
    packed, _, _ = m.dem.compile_sampler(seed=4).sample(60, bit_packed=True)
    got = make_decision(network, "conservative", m.problem)(logits, packed)
    expected = MatchedDecision(m.problem, doubt=factor * doubt_of(m.problem))(logits, packed)
    assert doubt_of(m.problem) > 1
    assert np.array_equal(got, expected)
    whole = MatchedDecision(m.problem)(logits, packed)
    assert (got.any(axis=1) < whole.any(axis=1)).any() or factor == 3.0


def test_a_negative_factor_is_refused():
    with pytest.raises(ValueError, match=r"doubt=-1.0 is negative; use 0"):
        DecisionConfig(doubt=-1.0)
