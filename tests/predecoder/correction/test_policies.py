"""Policies: what they depend on, what they refuse, and their way through a file."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import qec
from predecoder.correction import AbstainPolicy, Policies, ThresholdPolicy


def _density(p: float) -> float:
    circuit = qec.memory_circuit(distance=5, rounds=5, basis="z", noise=qec.depolarizing(p))
    return qec.DecodingProblem.from_circuit(circuit).peak_density


def test_rarer_detections_need_surer_clusters():
    policy = ThresholdPolicy(propose=-1.0, commit=2.0, commit_slope=3.0)
    assert [policy.at(_density(p)).commit for p in (0.006, 0.003)] == [2.0, 3.9]
    assert policy.at(0.4).commit == -1.0  # never below what is proposed
    assert policy.at(0.0).commit == 2.0


def test_a_small_patch_has_its_own_threshold():
    small, large = ThresholdPolicy(commit=1.0), ThresholdPolicy(commit=2.0)
    policies = Policies(threshold=large, small_patch=small)
    assert [policies.threshold_at(distance=d, density=0.1) for d in (5, 7)] == [small, large]
    assert Policies(threshold=large).threshold_at(distance=5, density=0.1) == large


def test_abstention_thresholds_grow_with_distance_and_fall_with_the_density():
    policy = AbstainPolicy(0.5)
    assert [policy.threshold_at(distance=d, density=0.107) for d in (3, 4, 5, 9)] == [0, 0, 0.5, 2.5]
    assert policy.threshold_at(distance=9, density=0.0535) == 1.25
    assert policy.threshold_at(distance=9, density=0.3) == 2.5


@pytest.mark.parametrize(
    "kwargs", [{"residual": "some"}, {"commit": -1.0}, {"clustering": "all"}, {"residual": "none"}]
)
def test_bad_thresholds_are_named(kwargs):
    ((name, value),) = kwargs.items()
    with pytest.raises(ValueError, match=f"{name}={value!r}"):
        ThresholdPolicy(**kwargs)


def test_bad_policies_are_named():
    with pytest.raises(ValueError, match=r"scale=-1\.0 is negative"):
        AbstainPolicy(-1.0)
    with pytest.raises(ValueError, match="residual='any'"):
        Policies(complete=ThresholdPolicy())
    with pytest.raises(ValueError, match="min_rounds=0"):
        Policies(min_rounds=0)


_rules = st.builds(
    ThresholdPolicy,
    propose=st.floats(-5, 0),
    commit=st.floats(0, 9),
    residual=st.just("empty"),
    clustering=st.sampled_from(["moves", "hyperedges"]),
    commit_slope=st.floats(0, 4),
)


@given(
    st.builds(
        Policies,
        threshold=_rules,
        small_patch=st.none() | _rules,
        complete=_rules,
        abstain=st.builds(AbstainPolicy, st.floats(0, 4)),
        min_rounds=st.integers(1, 9),
    )
)
def test_policies_survive_a_file(policies):
    assert Policies.from_dict(json.loads(json.dumps(policies.to_dict()))) == policies


def test_a_file_of_other_names_is_refused():
    assert Policies.from_dict({}) == Policies()
    with pytest.raises(TypeError, match="conservative"):
        Policies.from_dict({"conservative": {}})
    with pytest.raises(TypeError, match="residue"):
        Policies.from_dict({"threshold": {"residue": "any"}})
