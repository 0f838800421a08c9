"""The matching in C++ costs what the one in Python costs, and what trying everything finds."""

import itertools

import numpy as np
import pytest

import predecoder.correction.matching
from predecoder.correction import MatchingDecision
from predecoder.correction.python_matching import PythonMatching
from predecoder.native import Matched, NativeMatching

UNEVEN = 2.0 ** np.arange(-3, 4)


def _both(model):
    ends, detectors = model.moves.ends, model.layout.num_detectors
    return NativeMatching(ends, num_detectors=detectors), PythonMatching(ends, num_detectors=detectors)


def _shots(model, shots: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Detections, bit-packed and as 0/1."""
    packed, _, _ = model.dem.compile_sampler(seed=seed).sample(shots, bit_packed=True)
    return packed, np.unpackbits(packed, axis=1, count=model.layout.num_detectors, bitorder="little")


def _value(logits: np.ndarray, moves: np.ndarray) -> np.ndarray:
    return (logits.astype(np.float64) * moves).sum(axis=1)


def _check_same(model, logits: np.ndarray, packed: np.ndarray, detections: np.ndarray) -> Matched:
    """Shots that are solved are explained, as likely as in Python, whose weights are rounded."""
    native, python = _both(model)
    got, expected = native(logits, packed), python(logits, packed)
    solved = ~got.unsolved
    moves = got.moves[solved]
    assert np.array_equal((model.moves.matrix.astype(int) @ moves.T).T % 2, detections[solved])
    assert _value(logits[solved], moves) == pytest.approx(
        _value(logits[solved], expected.moves[solved]), abs=1e-3, rel=1e-5
    )
    # Where both found the same, and not another that is as likely.
    same = solved & (got.moves == expected.moves).all(axis=1)
    assert got.maximum_weight[same] == pytest.approx(expected.maximum_weight[same], rel=1e-5)
    assert not got.moves[got.unsolved].any()
    return got


@pytest.mark.parametrize("distance", [3, 5, 7])
@pytest.mark.parametrize("spread", [1.0, 2.0, 4.0])
def test_synthetic_logits(model, distance, spread):
    """Mostly against a move; the narrower, the more defects and the larger their clusters: up to all."""
    m, rng = model(distance, distance), np.random.default_rng(distance)
    packed, detections = _shots(m, 40, seed=1)
    logits = rng.normal(-spread, spread, size=(40, m.moves.num_moves)).astype(np.float32)
    got = _check_same(m, logits, packed, detections)
    assert not got.unsolved.any()


@pytest.mark.parametrize("distance", [7, 9, 11])
def test_large_clusters(model, distance):
    """Some hundred defects in one cluster."""
    m, rng = model(distance, distance), np.random.default_rng(distance)
    packed, detections = _shots(m, 5, seed=10)
    logits = rng.normal(-3, 2, size=(5, m.moves.num_moves)).astype(np.float32)
    defects = ((m.moves.matrix.astype(int) @ (logits > 0).T).T + detections) % 2
    assert defects.sum(axis=1).min() > 4 * distance
    assert not _check_same(m, logits, packed, detections).unsolved.any()


@pytest.mark.parametrize("distance", [3, 5, 7])
def test_logits_that_nearly_explain_the_shot(model, distance):
    """As a trained network's: the true moves, some of them missed, some too many, all unsure somewhere."""
    m, rng = model(distance, distance, "z"), np.random.default_rng(distance)
    shots = 300 if distance < 7 else 100
    truth = rng.random((shots, m.moves.num_moves)) < 0.01
    detections = ((m.moves.matrix.astype(int) @ truth.T).T % 2).astype(np.uint8)
    logits = np.where(truth, 3.0, -7.0) + rng.normal(0, 2.5, size=truth.shape)
    got = _check_same(
        m, logits.astype(np.float32), np.packbits(detections, axis=1, bitorder="little"), detections
    )
    assert got.unsolved.mean() < 0.05
    assert (got.maximum_weight > 0).mean() > 0.1


@pytest.mark.parametrize("value", [1.0, -1.0, 0.0, 1e6, -1e6, np.inf, -np.inf])
def test_logits_that_are_all_the_same(model, value):
    """Everything at once, or nothing; beyond 1000, a logit counts as 1000."""
    m = model(5, 5)
    packed, detections = _shots(m, 20, seed=2)
    logits = np.full((20, m.moves.num_moves), value, dtype=np.float32)
    native, python = _both(m)
    got, expected = native(logits, packed), python(logits, packed)
    capped = np.clip(logits, -1000, 1000)
    solved = ~got.unsolved
    moves = got.moves[solved]
    assert np.array_equal((m.moves.matrix.astype(int) @ moves.T).T % 2, detections[solved])
    assert _value(capped[solved], moves) == pytest.approx(_value(capped[solved], expected.moves[solved]))


def test_random_and_shipped_networks(model, random_network):
    import torch

    from predecoder.correction import ResidualNetwork
    from predecoder.weights import load_network

    m = model(5, 5)
    packed, detections = _shots(m, 60, seed=3)
    for network in (random_network(1), load_network("fast")):
        logits = ResidualNetwork(m.problem, network, device=torch.device("cpu")).logits(packed)
        _check_same(m, np.ascontiguousarray(logits), packed, detections)


def _cheapest(ends: np.ndarray, price: np.ndarray, detections: np.ndarray) -> float:
    """Lowest price of moves that explain the detections, by trying all."""
    best = np.inf
    for moves in itertools.product((0, 1), repeat=len(price)):
        flipped = np.zeros(len(detections) + 1, dtype=int)
        for end in ends:
            np.add.at(flipped, end, moves)
        if np.array_equal(flipped[:-1] % 2, detections):
            best = min(best, float(price @ moves))
    return best


@pytest.mark.parametrize("seed", range(25))
def test_small_graphs_by_trying_everything(seed):
    """Graphs of any kind, parallel moves and free ones included; some syndromes have no explanation."""
    rng = np.random.default_rng(seed)
    detectors, count = 6, 10
    ends = np.array([rng.choice(detectors + 1, size=2, replace=False) for _ in range(count)]).T
    ends = np.sort(ends, axis=0)
    ends[1, ends[1] == detectors] = -1
    price = rng.choice([0.0, *UNEVEN, 3.0, 10.5], size=count).astype(np.float32)
    detections = rng.integers(0, 2, detectors).astype(np.uint8)
    best = _cheapest(ends, price, detections)
    arguments = (-price[None], np.packbits(detections[None], axis=1, bitorder="little"))
    native = NativeMatching(ends, num_detectors=detectors)(*arguments)
    assert native.unsolved[0] == np.isinf(best)
    if np.isfinite(best):
        python = PythonMatching(ends, num_detectors=detectors)(*arguments)
        assert native.moves[0] @ price == pytest.approx(best)
        assert python.moves[0] @ price == pytest.approx(best, abs=1e-2)


@pytest.mark.parametrize("seed", range(5))
def test_clusters_of_many_defects(seed):
    """A ring of defects with shortcuts, in which all belong together: more than a table by members holds."""
    rng = np.random.default_rng(seed)
    size = 24
    ring = np.stack([np.arange(size), (np.arange(size) + 1) % size])
    chords = np.stack([np.arange(size), (np.arange(size) + 3) % size])
    ends = np.concatenate([ring, chords], axis=1)
    logits = -rng.uniform(2.1, 2.6, size=(20, ends.shape[1])).astype(np.float32)
    packed = np.full((20, size // 8), 255, dtype=np.uint8)
    native = NativeMatching(ends, num_detectors=size)(logits, packed)
    python = PythonMatching(ends, num_detectors=size)(logits, packed)
    assert not native.unsolved.any()
    assert _value(logits, native.moves) == pytest.approx(_value(logits, python.moves), abs=1e-3)


@pytest.mark.parametrize("make", [NativeMatching, PythonMatching])
def test_a_way_round_three_groups_is_found_beyond_their_reach(make):
    """Three pairs at 5 each cost more than two at 0.5 and one far away at 10.5, though each is near."""
    ends = np.array([[0, 1, 2, 3, 4, 0], [1, 2, 3, 4, 5, 5]])
    logits = -np.array([[5, 0.5, 5, 0.5, 5, 10.5]], dtype=np.float32)
    result = make(ends, num_detectors=6)(logits, np.array([[0b111111]], dtype=np.uint8))
    assert result.moves.tolist() == [[0, 1, 0, 1, 0, 1]]
    assert result.maximum_weight[0] == pytest.approx(10.5)


def test_a_shot_does_not_depend_on_its_batch(model):
    """Few defects, hundreds in one cluster, many ties, or nothing that is solved."""
    m, rng = model(11, 11), np.random.default_rng(11)
    packed, _ = _shots(m, 24, seed=4)
    logits = rng.normal(-6, 2, size=(24, m.moves.num_moves)).astype(np.float32)
    logits[::4] = rng.normal(0, 1, size=logits[::4].shape)
    logits[1::4] = rng.normal(-3, 2, size=logits[1::4].shape)
    logits[2::4] = np.round(rng.normal(-3, 2, size=logits[2::4].shape))
    native, _ = _both(m)
    together = native(logits, packed)
    assert np.array_equal(together.unsolved, np.arange(24) % 4 == 0)
    for size in (1, 7):
        parts = [native(logits[k : k + size], packed[k : k + size]) for k in range(0, 24, size)]
        for whole, part in zip(together, zip(*parts, strict=True), strict=True):
            assert np.array_equal(whole, np.concatenate(part))


def test_doubtful_shots_commit_nothing(model):
    m, rng = model(5, 3), np.random.default_rng(12)
    packed, _ = _shots(m, 80, seed=5)
    logits = rng.normal(-4, 3, size=(80, m.moves.num_moves)).astype(np.float32)
    native, _ = _both(m)
    free = native(logits, packed)
    threshold = float(np.median(free.maximum_weight[~free.unsolved]))
    careful = native(logits, packed, abstain_above=threshold)
    assert np.array_equal(careful.maximum_weight, free.maximum_weight)
    assert np.array_equal(careful.moves, np.where(free.maximum_weight[:, None] <= threshold, free.moves, 0))


def test_shots_left_unsolved_are_explained_in_python(model):
    """With and without abstention, the rest of the batch untouched."""
    m, rng = model(11, 11), np.random.default_rng(13)
    packed, detections = _shots(m, 12, seed=6)
    logits = rng.normal(-5, 1, size=(12, m.moves.num_moves)).astype(np.float32)
    logits[::3] = rng.normal(0, 1, size=logits[::3].shape)
    native, python = _both(m)
    assert native(logits, packed).unsolved[::3].all()
    assert not native(logits, packed).unsolved.all()
    moves = MatchingDecision(m.problem)(logits, packed)
    assert np.array_equal((m.moves.matrix.astype(int) @ moves.T).T % 2, detections)
    alone = python(logits, packed)
    assert _value(logits, moves) == pytest.approx(_value(logits, alone.moves), abs=1e-2)
    threshold = float(np.median(alone.maximum_weight[::3]))
    left = MatchingDecision(m.problem, abstain_above=threshold)(logits, packed)[::3]
    assert np.array_equal(left.any(axis=1), alone.maximum_weight[::3] <= threshold)


def test_native_false_is_python_alone(model, monkeypatch):
    m = model(3, 3)

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("native code was used")

    monkeypatch.setattr(predecoder.correction.matching, "NativeMatching", fail)
    packed, detections = _shots(m, 10, seed=7)
    logits = np.full((10, m.moves.num_moves), -3.0, dtype=np.float32)
    moves = MatchingDecision(m.problem, native=False)(logits, packed)
    assert np.array_equal((m.moves.matrix.astype(int) @ moves.T).T % 2, detections)


def test_arrays_of_another_kind_are_refused(model):
    m = model(3, 3)
    native, _ = _both(m)
    packed, _ = _shots(m, 2, seed=8)
    with pytest.raises(ValueError, match=r"float64 .*, but float32"):
        native(np.zeros((2, m.moves.num_moves)), packed)
    with pytest.raises(ValueError, match=r"uint8 \(2, \d+\), but uint8 \(3,"):
        native(np.zeros((3, m.moves.num_moves), dtype=np.float32), packed)
    with pytest.raises(ValueError, match="D6 is the last"):
        NativeMatching(np.array([[0], [7]]), num_detectors=7)


@pytest.mark.slow
@pytest.mark.parametrize("distance", [9, 13])
def test_large_patches(model, distance):
    import torch

    from predecoder.correction import ResidualNetwork
    from predecoder.weights import load_network

    m = model(distance, distance)
    packed, detections = _shots(m, 64, seed=9)
    network = ResidualNetwork(m.problem, load_network("fast"), device=torch.device("cpu"))
    _check_same(m, np.ascontiguousarray(network.logits(packed)), packed, detections)
