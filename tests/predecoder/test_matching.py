"""The matching on logits is the likeliest explanation, whatever the logits are, alone and in a batch."""

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse as sp
import scipy.sparse.csgraph
import torch

import predecoder.matching
import qec
from global_decoders import make_decoder
from predecoder.blocking import block, unblock
from predecoder.decoder import CompiledPredecoded
from predecoder.matching import MatchedDecision
from predecoder.modes import automatic_mode, doubt_of, make_decision


def _logits(model, rng: np.random.Generator, shots: int, *, spread: float = 3.0) -> np.ndarray:
    """Random logits on the network's grid: mostly against a move, now and then for one."""
    grid = rng.normal(-spread, spread, size=(shots, *model.layout.move_mask.shape))
    return block(grid).astype(np.float32)


def _detections(model, rng: np.random.Generator, shots: int) -> np.ndarray:
    packed, _, _ = model.dem.compile_sampler(seed=int(rng.integers(2**62))).sample(shots)
    return packed.astype(np.uint8)


def _moves(model, committed: np.ndarray) -> np.ndarray:
    """0/1 `(shots, moves)` from the blocked grid."""
    return unblock(committed).reshape(len(committed), -1)[:, model.moves.positions]


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
    moves = _moves(m, MatchedDecision(m.layout)(logits, detections))
    assert np.array_equal((m.moves.matrix.astype(int) @ moves.T).T % 2, detections)
    log_odds = _moves(m, logits)
    for y, odds, s in zip(moves, log_odds, detections, strict=True):
        assert odds @ y == pytest.approx(_likeliest(m, odds, s), abs=1e-3)


def test_it_is_the_likeliest_however_far_one_looks_first(model, monkeypatch):
    """A reach too short for most shots sends them to the next one; the answers stay as likely."""
    m, rng = model(5, 5), np.random.default_rng(6)
    logits, detections = _logits(m, rng, 60, spread=2.0), _detections(m, rng, 60)
    decision = MatchedDecision(m.layout)
    monkeypatch.setattr(predecoder.matching, "_REACHES", (np.inf,))
    whole = _moves(m, decision(logits, detections))
    monkeypatch.setattr(predecoder.matching, "_REACHES", (2.0, 6.0, 15.0, np.inf))
    near = _moves(m, decision(logits, detections))
    likelihood = [(moves * _moves(m, logits)).sum(axis=1) for moves in (whole, near)]
    assert likelihood[1] == pytest.approx(likelihood[0], abs=1e-3)


def test_a_batch_equals_its_single_shots(model):
    m, rng = model(5, 5, "z"), np.random.default_rng(7)
    logits, detections = _logits(m, rng, 50), _detections(m, rng, 50)
    decision = MatchedDecision(m.layout)
    together = decision(logits, detections)
    single = [decision(logits[k : k + 1], detections[k : k + 1])[0] for k in range(50)]
    assert np.array_equal(together, np.array(single))
    assert decision(logits[:0], detections[:0]).shape == (0, *logits.shape[1:])


def test_sure_moves_that_explain_the_shot_are_taken_as_they_are(model):
    """Without defects there is nothing to match."""
    m, rng = model(5, 3), np.random.default_rng(8)
    truth = (rng.random((20, m.moves.num_moves)) < 0.05).astype(np.uint8)
    detections = ((m.moves.matrix.astype(int) @ truth.T).T % 2).astype(np.uint8)
    grid = np.full((20, m.layout.move_mask.size), -5.0, dtype=np.float32)
    grid[:, m.moves.positions] = 10.0 * truth - 5
    logits = block(grid.reshape(20, *m.layout.move_mask.shape))
    assert np.array_equal(_moves(m, MatchedDecision(m.layout)(logits, detections)), truth)


def test_shots_with_a_doubtful_group_are_left_alone(model):
    """Every group's price by hand: connected changes, the boundary connecting nothing."""
    m, rng = model(5, 3), np.random.default_rng(10)
    logits, detections = _logits(m, rng, 80), _detections(m, rng, 80)
    sure, moves = _moves(m, logits) > 0, _moves(m, MatchedDecision(m.layout)(logits, detections))
    dearest = np.zeros(80)
    for shot, (before, after) in enumerate(zip(sure, moves.astype(bool), strict=True)):
        changed = np.flatnonzero(before != after)
        price, touched = np.abs(_moves(m, logits)[shot, changed]), m.moves.matrix[:, changed].toarray()
        _, group = scipy.sparse.csgraph.connected_components(touched.T.astype(int) @ touched)
        dearest[shot] = np.bincount(group, weights=price).max(initial=0)
    doubt = float(np.median(dearest))
    left = _moves(m, MatchedDecision(m.layout, doubt=doubt)(logits, detections))
    assert np.array_equal(left[dearest <= doubt - 1e-3], moves[dearest <= doubt - 1e-3])
    assert not left[dearest > doubt + 1e-3].any()
    assert 20 < left.any(axis=1).sum() < 60


@pytest.mark.parametrize(
    ("distance", "p", "doubt"), [(3, 0.006, 0.0), (5, 0.006, 1.0), (9, 0.006, 5.0), (9, 0.003, 2.6)]
)
def test_doubt_grows_with_the_distance_and_falls_with_the_density(distance, p, doubt):
    for rounds in (distance, 2 * distance):
        circuit = qec.memory_circuit(distance=distance, rounds=rounds, basis="x", noise=qec.depolarizing(p))
        dem = circuit.detector_error_model(decompose_errors=True)
        assert doubt_of(qec.DetectorLayout.from_dem(dem)) == pytest.approx(doubt, abs=0.1)


def test_with_equal_logits_it_decodes(model):
    """Every move equally unlikely: the shortest correction, without diagonal edges and rates."""
    m = model(3, 3)
    graph = make_decoder("pymatching").compile_decoder_for_dem(dem=m.dem)
    packed, truth, _ = m.dem.compile_sampler(seed=9).sample(3000, bit_packed=True)
    detections = np.unpackbits(packed, axis=1, count=m.layout.num_detectors, bitorder="little")
    logits = np.full((3000, *block(m.layout.move_mask[None]).shape[1:]), -4.0, dtype=np.float32)
    moves = _moves(m, MatchedDecision(m.layout)(logits, detections))
    wrong = (truth != ((m.moves.observables.astype(int) @ moves.T).T % 2)).any(axis=1).sum()
    plain = graph.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
    best = (plain != truth).any(axis=1).sum()
    assert best <= wrong < 3 * best


def test_behind_it_the_global_decoder_has_nothing_left(model, random_network):
    """Random weights, too, give a consistent decoder."""
    m = model(5, 3)
    plain = make_decoder("pymatching")
    network = random_network()
    compiled = CompiledPredecoded(
        m.layout,
        network,
        plain.compile_decoder_for_dem(dem=m.dem),
        device=torch.device("cpu"),
        decision=make_decision(network, automatic_mode(plain), m.layout),
    )
    packed, _, _ = m.dem.compile_sampler(seed=2).sample(64, bit_packed=True)
    residual, flips = compiled.decode_to_residual(packed)
    assert not residual.any()
    assert np.array_equal(compiled.decode_shots_bit_packed(bit_packed_detection_event_data=packed), flips)
