"""A threshold policy on the device: the kernel, compiled for the CPU, against the policies in use."""

import itertools
from typing import get_args

import numpy as np
import pytest
import scipy.sparse as sp
import stim
from hypothesis import given
from hypothesis import strategies as st

from cuda.qecpipe import CommitRule, CorrectionTables, LogitType, correct_arguments, launch_on_cpu
from predecoder.blocking import blocked_places
from predecoder.correction import ClusterDecision, MatchingDecision, Residual, ThresholdPolicy
from predecoder.correction.hyperedges import Hyperedges
from qec import BASES, ORIENTATIONS, DecodingProblem

POLICIES = [
    ThresholdPolicy(),
    ThresholdPolicy(commit=1.3),
    ThresholdPolicy(propose=0.1, commit=1.3, clustering="hyperedges"),
    ThresholdPolicy(commit=0.7, residual="empty"),
    ThresholdPolicy(commit=2.0, residual="empty", clustering="hyperedges"),
]
GUARD = np.uint32(0xABCDEF01)


def tables_of(problem: DecodingProblem, policy: ThresholdPolicy) -> CorrectionTables:
    joined = policy.clustering == "hyperedges" and not policy.commits_all
    return CorrectionTables(
        problem.moves.ends,
        blocked_places(problem.layout, problem.moves),
        problem.moves.observables,
        num_detectors=problem.layout.num_detectors,
        hyperedges=Hyperedges.of_problem(problem).nodes if joined else None,
    )


def rule_of(policy: ThresholdPolicy) -> CommitRule:
    return CommitRule(policy.propose, policy.commit, policy.residual == "empty")


def by_kernel(
    tables, rule, dtype, bits, packed, *, grid=4, block=64, backwards=False
) -> dict[str, np.ndarray]:
    """Moves, residual and flips as bytes (S, ...), of words whose surroundings are checked."""
    shots, words = len(packed), tables.buffer_words(shots=len(packed), grid=grid)
    buffers = {name: np.full(size + 2, GUARD) for name, size in words.items()}
    packed = np.ascontiguousarray(packed)
    addresses = {name: array.ctypes.data for name, array in tables.arrays.items()}
    addresses |= {name: array[1:].ctypes.data for name, array in buffers.items()}
    arguments = correct_arguments(
        tables,
        rule,
        dtype,
        logits=bits.ctypes.data,
        packed=packed.ctypes.data,
        on_device=addresses,
        shots=shots,
        volume=bits.shape[1],
    )
    launch_on_cpu("correct", grid=grid, block=block, arguments=arguments, backwards=backwards)
    assert all(array[0] == array[-1] == GUARD for array in buffers.values())
    return {
        name: buffers[name][1:-1].view(np.uint8).reshape(shots, -1) for name in ("moves", "residual", "flips")
    }


def random_logits(problem, policy, shots: int, *, seed: int, mean: float) -> np.ndarray:
    """Logits (S, V) that have nothing to do with the shots, some of them at a threshold, infinite or NaN."""
    rng = np.random.default_rng(seed)
    values = rng.normal(mean, 2.0, (shots, 3 * int(np.prod(problem.layout.shape))))
    at = rng.random(values.shape) < 0.05
    values[at] = rng.choice([policy.propose, policy.commit, np.nan, np.inf, -np.inf], at.sum())
    return values


def plausible_logits(problem, packed: np.ndarray, *, seed: int) -> np.ndarray:
    """Logits (S, V) that mostly propose moves which explain the shots, surely or not, and some others."""
    rng, moves = np.random.default_rng(seed), problem.moves
    values = rng.normal(-5.0, 2.0, (len(packed), 3 * int(np.prod(problem.layout.shape))))
    explaining = MatchingDecision(problem)(
        np.full((len(packed), moves.num_moves), -3, dtype=np.float32), packed
    )
    shot, move = np.nonzero(explaining)
    values[shot, blocked_places(problem.layout, moves)[move]] = rng.normal(4.0, 2.0, len(shot))
    return values


def check(
    problem, policy, element_bits, packed, dtype: LogitType, values: np.ndarray, **launch
) -> np.ndarray:
    """The kernel's results on shots and logits against those in use; returns the committed moves."""
    tables, moves = tables_of(problem, policy), problem.moves
    bits, exact = element_bits(values, dtype)
    with np.errstate(invalid="ignore"):
        committed = ClusterDecision(problem, policy)(exact[:, blocked_places(problem.layout, moves)], packed)
    residual, flips = Residual(moves)(packed, committed)
    got = by_kernel(tables, rule_of(policy), dtype, bits, packed, **launch)
    for name, expected in (
        ("moves", np.packbits(committed, axis=1, bitorder="little")),
        ("residual", residual),
        ("flips", flips),
    ):
        rows = got[name]
        np.testing.assert_array_equal(rows[:, : expected.shape[1]], expected, err_msg=name)
        assert not rows[:, expected.shape[1] :].any(), name
    return committed


def sampled(problem: DecodingProblem, shots: int, seed: int = 5) -> np.ndarray:
    """Shots of the problem's own error model, uint8 (S, ceil(D / 8))."""
    return problem.dem.compile_sampler(seed=seed).sample(shots, bit_packed=True)[0]


SMALL = [*itertools.product([3, 4, (3, 4), (4, 3), 5], [1, 2, 3, 4])]


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from(SMALL),
    basis=st.sampled_from(BASES),
    orientation=st.sampled_from(ORIENTATIONS),
    policy=st.sampled_from(POLICIES),
    dtype=st.sampled_from(get_args(LogitType)),
    shots=st.integers(1, 9),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    mean=st.sampled_from([-4.0, -2.0, 0.0, 3.0]),
    launch=st.fixed_dictionaries(
        {"grid": st.integers(1, 6), "block": st.integers(1, 70), "backwards": st.booleans()}
    ),
)
def test_random_shots(
    problem, element_bits, seed, size, basis, orientation, policy, dtype, shots, density, mean, launch
):
    p = problem(*size, basis, orientation)
    rng = np.random.default_rng(seed)
    bits = (rng.random((shots, p.layout.num_detectors)) < density).astype(np.uint8)
    packed = np.packbits(bits, axis=1, bitorder="little")
    logits = random_logits(p, policy, shots, seed=seed, mean=mean)
    check(p, policy, element_bits, packed, dtype, logits, **launch)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: f"{p.residual}-{p.clustering}-{p.commit}")
@pytest.mark.parametrize(
    ("distance", "rounds", "shots"), [(7, 5, 16), ((6, 9), 4, 16), (11, 6, 4), (31, 1, 2)]
)
def test_shots_of_the_error_model(problem, element_bits, distance, rounds, shots, policy) -> None:
    p = problem(distance, rounds)
    packed = sampled(p, shots)
    logits = plausible_logits(p, packed, seed=1)
    committed = check(p, policy, element_bits, packed, "bfloat16", logits, block=512)
    proposed = logits[:, blocked_places(p.layout, p.moves)] > policy.propose
    assert 0.02 * proposed.sum() < committed.sum() <= proposed.sum()
    assert policy.commits_all or committed.sum() < 0.98 * proposed.sum()


@pytest.mark.slow
@pytest.mark.parametrize("policy", [POLICIES[1], POLICIES[4]], ids=lambda p: p.residual)
@pytest.mark.parametrize(
    ("distance", "rounds", "shots", "basis", "orientation"),
    [(3, 3, 4096, "z", "ZV"), (9, 9, 300, "z", "XH"), (21, 8, 16, "x", "ZH"), (31, 15, 4, "z", "ZV")],
)
def test_large_batches_and_patches(
    problem, element_bits, distance, rounds, shots, basis, orientation, policy
):
    p = problem(distance, rounds, basis, orientation)
    packed = sampled(p, shots)
    logits = plausible_logits(p, packed, seed=2)
    check(p, policy, element_bits, packed, "float16", logits, grid=132, block=512)


@pytest.mark.parametrize("policy", POLICIES[1:], ids=lambda p: f"{p.residual}-{p.clustering}-{p.commit}")
def test_device_data(sycamore, element_bits, policy) -> None:
    p = DecodingProblem.from_dem(
        stim.DetectorErrorModel.from_file(sycamore / "r11/circuit_detector_error_model.dem")
    )
    shots = np.fromfile(sycamore / "r11/detection_events.b8", dtype=np.uint8)
    packed = shots.reshape(-1, -(-p.layout.num_detectors // 8))[:1000]
    logits = plausible_logits(p, packed, seed=4)
    committed = check(p, policy, element_bits, packed, "float32", logits, grid=16, backwards=True)
    assert committed.any()


def test_a_long_cluster_falls_from_one_weak_end(problem, element_bits) -> None:
    """All moves are proposed, so that the whole patch is one cluster; one of them is not sure."""
    p, policy = problem(7, 5), ThresholdPolicy(commit=2.0)
    tables = tables_of(p, policy)
    values = np.full((2, 3 * int(np.prod(p.layout.shape))), 3.0)
    values[1, tables.arrays["places"][0, 0, 0]] = 1.0
    bits, _ = element_bits(values, "float32")
    packed = np.zeros((2, -(-p.layout.num_detectors // 8)), dtype=np.uint8)
    moves = by_kernel(tables, rule_of(policy), "float32", bits, packed)["moves"]
    counts = np.unpackbits(moves, axis=1).sum(axis=1)
    kinds = p.layout.voxels[:, 1:].sum(axis=1) % 2  # moves of the two types share no detector
    of_other = int((kinds[p.moves.ends[0]] != kinds[p.moves.ends[0, 0]]).sum())
    assert counts.tolist() == [p.moves.num_moves, of_other]


@pytest.mark.parametrize("observables", [0, 1, 32, 33, 70])
def test_any_number_of_observables(problem, element_bits, observables) -> None:
    p, rng = problem(3, 2), np.random.default_rng(observables)
    flips = sp.csc_array((rng.random((observables, p.moves.num_moves)) < 0.3).astype(np.uint8))
    tables = CorrectionTables(
        p.moves.ends, np.arange(p.moves.num_moves), flips, num_detectors=p.layout.num_detectors
    )
    bits, exact = element_bits(rng.normal(0, 1, (5, p.moves.num_moves)), "float32")
    got = by_kernel(tables, CommitRule(0.0, 0.0), "float32", bits, sampled(p, 5))["flips"]
    expected = np.packbits((exact > 0).astype(int) @ flips.toarray().T % 2, axis=1, bitorder="little")
    assert np.array_equal(got[:, : expected.shape[1]], expected)
    assert not got[:, expected.shape[1] :].any()


def test_bits_behind_the_last_detector_stay_as_they_came(problem, element_bits) -> None:
    """As in C++ (`Residual`), which touches no more than moves flip."""
    p = problem((3, 4), 2)
    assert p.layout.num_detectors % 8
    packed = np.full((3, -(-p.layout.num_detectors // 8)), 255, dtype=np.uint8)
    check(p, POLICIES[4], element_bits, packed, "float32", plausible_logits(p, packed, seed=0))


def test_thresholds_compare_as_the_numbers_themselves() -> None:
    for number in (0.1, 0.7, 1.3, 2.0, 1e-50):
        _, commit = CommitRule(0.0, number).thresholds
        assert float(commit) >= number
        assert float(np.nextafter(commit, np.float32(-1))) < number


@pytest.mark.parametrize(
    ("ends", "places", "options", "message"),
    [
        (
            [[0, 2], [1, -1]],
            [0, 1],
            {"num_detectors": 2},
            r"ends\[0\] has 2, which is not one of 2 detectors",
        ),
        ([[-1, 0], [1, -1]], [0, 1], {"num_detectors": 2}, r"ends\[0\] has -1"),
        ([[0, 0], [1, -2]], [0, 1], {"num_detectors": 2}, r"ends\[1\] has -2"),
        ([[0, 0], [1, -1]], [0], {"num_detectors": 2}, r"places \(1,\); use \(2, M\) and \(M,\)"),
        ([[0, 0], [1, -1]], [0, -5], {"num_detectors": 2}, "places are from -5 to 0"),
        ([[0], [1]], [0], {"num_detectors": 2}, "observables are of 2 moves, but there are 1"),
        (
            [[0, 0], [1, -1]],
            [0, 1],
            {"num_detectors": 2, "hyperedges": np.array([[0, 3]])},
            "hyperedges has 3, which is not",
        ),
        (
            [[0] * 7, [1, 2, 3, 4, 5, 6, -1]],
            range(7),
            {"num_detectors": 7},
            "7 moves flip detector 0; the kernel takes 6",
        ),
    ],
)
def test_tables_that_do_not_fit_are_refused(ends, places, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        CorrectionTables(
            np.array(ends),
            np.array(places),
            sp.csc_array(np.ones((1, max(2, len(places))), np.uint8)),
            **options,
        )
