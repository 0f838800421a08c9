"""The matching on logits is the likeliest explanation, whatever the logits are, alone and in a batch."""

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse as sp
import scipy.sparse.csgraph

import qec
from global_decoders import make_decoder
from predecoder.correction import AbstainPolicy, MatchingDecision
from predecoder.inference import EngineOptions
from predecoder.neural_matching import CompiledNeuralMatching


def _logits(model, rng: np.random.Generator, shots: int, *, spread: float = 3.0) -> np.ndarray:
    """Random logits: mostly against a move, now and then for one."""
    return rng.normal(-spread, spread, size=(shots, model.moves.num_moves)).astype(np.float32)


def _packed(detections: np.ndarray) -> np.ndarray:
    return np.packbits(detections, axis=1, bitorder="little")


def _detections(model, rng: np.random.Generator, shots: int) -> np.ndarray:
    packed, _, _ = model.dem.compile_sampler(seed=int(rng.integers(2**62))).sample(shots)
    return packed.astype(np.uint8)


def _likeliest(model, log_odds: np.ndarray, detections: np.ndarray) -> float:
    """The largest sum of log-odds of moves with M y = s, by integer programming."""
    matrix = model.moves.matrix.astype(float)
    detectors, moves = matrix.shape
    # M y - 2 z = s with whole z.
    equal = sp.hstack([matrix, -2 * sp.eye(detectors)])
    best = scipy.optimize.milp(
        np.concatenate([-log_odds, np.zeros(detectors)]),
        constraints=scipy.optimize.LinearConstraint(equal, detections, detections),
        bounds=scipy.optimize.Bounds(0, np.concatenate([np.ones(moves), np.full(detectors, 4)])),
        integrality=np.ones(moves + detectors),
    )
    assert best.success
    return -best.fun


@pytest.mark.parametrize("basis", ["x", "z"])
def test_no_explanation_is_likelier(model, basis):
    m, rng = model(3, 2, basis), np.random.default_rng(5)
    logits, detections = _logits(m, rng, 40), _detections(m, rng, 40)
    moves = MatchingDecision(m.problem)(logits, _packed(detections))
    assert np.array_equal((m.moves.matrix.astype(int) @ moves.T).T % 2, detections)
    for y, odds, s in zip(moves, logits, detections, strict=True):
        assert odds @ y == pytest.approx(_likeliest(m, odds, s), abs=1e-3)


def test_a_batch_equals_its_single_shots(model):
    m, rng = model(5, 5, "z"), np.random.default_rng(7)
    logits, packed = _logits(m, rng, 50), _packed(_detections(m, rng, 50))
    decision = MatchingDecision(m.problem)
    together = decision(logits, packed)
    single = [decision(logits[k : k + 1], packed[k : k + 1])[0] for k in range(50)]
    assert np.array_equal(together, np.array(single))
    assert decision(logits[:0], packed[:0]).shape == (0, m.moves.num_moves)


def test_sure_moves_that_explain_the_shot_are_taken_as_they_are(model):
    """Without defects there is nothing to match."""
    m, rng = model(5, 3), np.random.default_rng(8)
    truth = (rng.random((20, m.moves.num_moves)) < 0.05).astype(np.uint8)
    detections = ((m.moves.matrix.astype(int) @ truth.T).T % 2).astype(np.uint8)
    logits = (10 * truth - 5.0).astype(np.float32)
    assert np.array_equal(MatchingDecision(m.problem)(logits, _packed(detections)), truth)


def test_shots_with_a_doubtful_cluster_are_left_alone(model):
    """Every cluster's weight by hand: connected flipped edges, the boundary connecting nothing."""
    m, rng = model(5, 3), np.random.default_rng(10)
    logits, packed = _logits(m, rng, 80), _packed(_detections(m, rng, 80))
    sure, moves = logits > 0, MatchingDecision(m.problem)(logits, packed)
    heaviest = np.zeros(80)
    for shot, (before, after) in enumerate(zip(sure, moves.astype(bool), strict=True)):
        flipped = np.flatnonzero(before != after)
        weight, touched = np.abs(logits[shot, flipped]), m.moves.matrix[:, flipped].toarray()
        _, cluster = scipy.sparse.csgraph.connected_components(touched.T.astype(int) @ touched)
        heaviest[shot] = np.bincount(cluster, weights=weight).max(initial=0)
    threshold = float(np.median(heaviest))
    left = MatchingDecision(m.problem, abstain_above=threshold)(logits, packed)
    assert np.array_equal(left[heaviest <= threshold - 1e-3], moves[heaviest <= threshold - 1e-3])
    assert not left[heaviest > threshold + 1e-3].any()
    assert 20 < left.any(axis=1).sum() < 60


@pytest.mark.parametrize(
    ("distance", "p", "threshold"), [(3, 0.006, 0.0), (5, 0.006, 1.0), (9, 0.006, 5.0), (9, 0.003, 2.6)]
)
def test_the_abstention_threshold_is_the_same_for_any_length(distance, p, threshold):
    for rounds in (distance, 2 * distance):
        circuit = qec.memory_circuit(distance=distance, rounds=rounds, basis="x", noise=qec.depolarizing(p))
        problem = qec.DecodingProblem.from_circuit(circuit)
        got = AbstainPolicy().threshold_at(distance=problem.layout.distance, density=problem.peak_density)
        assert got == pytest.approx(threshold, abs=0.1)


def test_with_equal_logits_it_decodes(model):
    """Every move equally unlikely: the shortest correction, without diagonal edges and rates."""
    m = model(3, 3)
    graph = make_decoder("pymatching").compile_decoder_for_dem(dem=m.dem)
    packed, truth, _ = m.dem.compile_sampler(seed=9).sample(3000, bit_packed=True)
    logits = np.full((3000, m.moves.num_moves), -4.0, dtype=np.float32)
    moves = MatchingDecision(m.problem)(logits, packed)
    wrong = (truth != ((m.moves.observables.astype(int) @ moves.T).T % 2)).any(axis=1).sum()
    plain = graph.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
    best = (plain != truth).any(axis=1).sum()
    assert best <= wrong < 3 * best


def test_whatever_the_network_says_everything_is_explained(model, random_network):
    """Random weights, too, give a consistent decoder."""
    m = model(5, 3)
    compiled = CompiledNeuralMatching(m.problem, random_network(), EngineOptions("cpu"))
    packed, _, _ = m.dem.compile_sampler(seed=2).sample(64, bit_packed=True)
    moves = compiled.match(compiled.logits(packed), packed)
    detections = np.unpackbits(packed, axis=1, count=m.layout.num_detectors, bitorder="little")
    assert np.array_equal((m.moves.matrix.astype(int) @ moves.T).T % 2, detections)
    answers = compiled.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
    assert np.array_equal(answers, (m.moves.observables.astype(int) @ moves.T).T % 2)
