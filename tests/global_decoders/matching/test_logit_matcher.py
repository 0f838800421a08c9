"""Matchings on logits cost what PyMatching finds on the flips of positive logits, however the logits are."""

import functools

import numpy as np
import pymatching
import pytest

import qec
from global_decoders.matching import LogitMatcher


@functools.cache
def _moves(distance: int, rounds: int, basis: str = "x") -> tuple[qec.MoveSet, qec.DecodingProblem]:
    circuit = qec.memory_circuit(
        distance=distance,
        rounds=rounds,
        basis=basis,  # pyright: ignore[reportArgumentType]
        noise=qec.depolarizing(0.01),
    )
    problem = qec.DecodingProblem.from_circuit(circuit)
    return problem.moves, problem


def _shots(problem: qec.DecodingProblem, shots: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Detections, bit-packed and as 0/1."""
    packed, _, _ = problem.dem.compile_sampler(seed=seed).sample(shots, bit_packed=True)
    count = problem.layout.num_detectors
    return packed, np.unpackbits(packed, axis=1, count=count, bitorder="little")


def _value(logits: np.ndarray, moves: np.ndarray) -> np.ndarray:
    return (logits.astype(np.float64) * moves).sum(axis=1)


def _expected(moves: qec.MoveSet, logits: np.ndarray, detections: np.ndarray) -> np.ndarray:
    """The best sums of logits by PyMatching on flips of the positive ones: no weight is negative then."""
    values = []
    for logit, bits in zip(logits.astype(np.float64), detections, strict=True):
        taken = logit > 0
        matching = pymatching.Matching(moves.matrix, weights=np.abs(logit))
        flipped = matching.decode(bits ^ (moves.matrix @ taken % 2).astype(np.uint8))
        values.append(logit @ (taken ^ flipped.astype(bool)))
    return np.array(values)


def _check(moves: qec.MoveSet, logits: np.ndarray, packed: np.ndarray, detections: np.ndarray) -> np.ndarray:
    found = LogitMatcher(moves.ends, num_detectors=moves.matrix.shape[0]).match(logits, packed).moves
    assert np.array_equal((moves.matrix.astype(int) @ found.T).T % 2, detections)
    assert _value(logits, found) == pytest.approx(_expected(moves, logits, detections), abs=1e-3, rel=1e-5)
    return found


@pytest.mark.parametrize("distance", [3, 5, 7])
@pytest.mark.parametrize("spread", [0.0, 1.0, 4.0])
def test_synthetic_logits(distance, spread):
    """Mostly against a move; the narrower, the more defects and the larger their clusters: up to all."""
    moves, problem = _moves(distance, distance)
    packed, detections = _shots(problem, 10, seed=1)
    logits = np.random.default_rng(distance).normal(-spread, max(spread, 1), size=(10, moves.num_moves))
    _check(moves, logits.astype(np.float32), packed, detections)


@pytest.mark.parametrize("distance", [3, 5, 7])
def test_logits_that_nearly_explain_the_shot(distance):
    """As a trained network's: the true moves, some of them missed, some too many, all unsure somewhere."""
    moves, _ = _moves(distance, distance, "z")
    rng = np.random.default_rng(distance)
    truth = rng.random((40, moves.num_moves)) < 0.01
    detections = ((moves.matrix.astype(int) @ truth.T).T % 2).astype(np.uint8)
    logits = np.where(truth, 3.0, -7.0) + rng.normal(0, 2.5, size=truth.shape)
    packed = np.packbits(detections, axis=1, bitorder="little")
    _check(moves, logits.astype(np.float32), packed, detections)


@pytest.mark.parametrize("value", [1.0, -1.0, 0.0, 1e6, -1e6])
def test_logits_that_are_all_the_same(value):
    """Everything at once, or nothing."""
    moves, problem = _moves(5, 5)
    packed, detections = _shots(problem, 10, seed=2)
    logits = np.full((10, moves.num_moves), value, dtype=np.float32)
    found = LogitMatcher(moves.ends, num_detectors=moves.matrix.shape[0]).match(logits, packed).moves
    assert np.array_equal((moves.matrix.astype(int) @ found.T).T % 2, detections)
    assert _value(logits, found) == pytest.approx(_expected(moves, logits, detections), rel=1e-5)


def test_a_way_round_three_groups_is_found():
    """Three pairs at 5 each cost more than two at 0.5 and one far away at 10.5, though each is near."""
    ends = np.array([[0, 1, 2, 3, 4, 0], [1, 2, 3, 4, 5, 5]])
    logits = -np.array([[5, 0.5, 5, 0.5, 5, 10.5]], dtype=np.float32)
    found = LogitMatcher(ends, num_detectors=6).match(logits, np.array([[0b111111]], dtype=np.uint8))
    assert found.moves.tolist() == [[0, 1, 0, 1, 0, 1]]
    assert found.maximum_weight[0] == pytest.approx(10.5)


def test_columns_that_are_no_edge_are_never_taken():
    ends = np.array([[0, -1, 1], [1, -1, -1]])
    logits = np.array([[-1.0, 5.0, -1.0]], dtype=np.float32)
    found = LogitMatcher(ends, num_detectors=2).match(logits, np.array([[0b01]], dtype=np.uint8))
    assert found.moves.tolist() == [[1, 0, 1]]


def test_doubtful_shots_commit_nothing():
    moves, problem = _moves(5, 3)
    packed, _ = _shots(problem, 80, seed=5)
    logits = np.random.default_rng(12).normal(-4, 3, size=(80, moves.num_moves)).astype(np.float32)
    matcher = LogitMatcher(moves.ends, num_detectors=moves.matrix.shape[0])
    free = matcher.match(logits, packed)
    threshold = float(np.median(free.maximum_weight))
    careful = matcher.match(logits, packed, abstain_above=threshold)
    assert np.array_equal(careful.maximum_weight, free.maximum_weight)
    kept = free.maximum_weight[:, None] <= threshold
    assert np.array_equal(careful.moves, np.where(kept, free.moves, 0))


def test_arrays_of_another_kind_are_refused():
    moves, problem = _moves(3, 3)
    matcher = LogitMatcher(moves.ends, num_detectors=moves.matrix.shape[0])
    packed, _ = _shots(problem, 2, seed=8)
    with pytest.raises(ValueError, match=r"logits: got an array of float64 .*, but float32"):
        matcher.match(np.zeros((2, moves.num_moves)), packed)
    with pytest.raises(ValueError, match=r"logits: got an array of float32 \(3, \d+\), but float32 \(2,"):
        matcher.match(np.zeros((3, moves.num_moves), dtype=np.float32), packed)
    with pytest.raises(ValueError, match="D6 is the last"):
        LogitMatcher(np.array([[0], [7]]), num_detectors=7)
