"""Which policy comes where, and what it makes of logits."""

import dataclasses

import numpy as np
import pytest

from global_decoders import make_decoder
from predecoder.correction import (
    AbstainPolicy,
    MatchingDecision,
    Policies,
    ThresholdPolicy,
    automatic_policy,
    make_decision,
    stream_policy,
)

POLICIES = Policies(
    threshold=ThresholdPolicy(commit=3.0),
    small_patch=ThresholdPolicy(propose=-1.0, commit=0.5),
    complete=ThresholdPolicy(commit=1.0, residual="empty", clustering="hyperedges", commit_slope=2.0),
)


def test_the_policy_suits_the_decoder():
    """Measured: EXPERIMENTS.md. What uses correlations is left all that is unsure."""
    plain, correlated = make_decoder("pymatching"), make_decoder("pymatching-correlated")
    assert [automatic_policy(d) for d in (plain, correlated)] == ["threshold", "abstain"]
    assert [automatic_policy(d, stream=True) for d in (plain, correlated)] == ["threshold", "complete"]


@pytest.mark.parametrize("scale", [0.0, 0.5, 3.0])
def test_abstaining_shots_may_weigh_what_the_policy_says(model, scale):
    m, rng = model(7, 3), np.random.default_rng(3)
    policies = dataclasses.replace(POLICIES, abstain=AbstainPolicy(scale))
    logits = rng.normal(-3, 2, (60, m.moves.num_moves)).astype(np.float32)
    packed, _, _ = m.dem.compile_sampler(seed=4).sample(60, bit_packed=True)
    got = make_decision(policies, "abstain", m.problem)(logits, packed)
    at = {"distance": 7, "density": m.problem.peak_density}
    threshold = AbstainPolicy().threshold_at(**at)
    assert threshold > 1
    expected = MatchingDecision(m.problem, abstain_above=scale * threshold)(logits, packed)
    assert np.array_equal(got, expected)
    whole = MatchingDecision(m.problem)(logits, packed)
    assert (got.any(axis=1) < whole.any(axis=1)).any() or scale == 3.0


@pytest.mark.parametrize("distance", [5, 7])
def test_streams_have_the_policies_of_whole_shots(model, distance):
    problem = model(distance, 3).problem
    threshold = stream_policy(POLICIES, "threshold", problem)
    assert threshold == (POLICIES.small_patch if distance == 5 else POLICIES.threshold)
    assert stream_policy(POLICIES, "complete", problem) == POLICIES.complete.at(problem.peak_density)


@pytest.mark.parametrize("name", ["abstain", "consistent"])
def test_a_stream_has_no_policy_of_whole_shots(model, name):
    with pytest.raises(ValueError, match=f"'{name}' needs the whole shot"):
        stream_policy(POLICIES, name, model().problem)


def test_unknown_policies_are_named(model):
    for make in (make_decision, stream_policy):
        with pytest.raises(ValueError, match="'aggressive' is unknown; use one of threshold, consistent"):
            make(POLICIES, "aggressive", model().problem)  # pyright: ignore[reportArgumentType]
