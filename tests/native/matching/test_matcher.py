"""The native matcher against exhaustive search on small graphs, and against PyMatching on large ones."""

import concurrent.futures
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import _qecpipe

KINDS = ("whole", "zeros", "normal", "positive")


def _packed(syndromes: np.ndarray) -> np.ndarray:
    return np.packbits(syndromes, axis=1, bitorder="little")


def _matcher(edges, *, weights: np.ndarray | None = None, flips: bool = False) -> _qecpipe.Matcher:
    return _qecpipe.Matcher(
        edges.ends,
        edges.weights if weights is None else weights,
        num_detectors=edges.num_detectors,
        flips=edges.flips.astype(np.uint8) if flips else None,
    )


def _ways(edges, shots: int, *, flips: bool = False) -> Iterator[tuple[_qecpipe.Matcher, dict[str, Any]]]:
    """A matcher with these weights, and one with others that is given these for every shot."""
    yield _matcher(edges, flips=flips), {}
    of_shots = np.tile(edges.weights, (shots, 1))
    other = np.linspace(1, 2, len(edges.weights)).astype(np.float32)
    yield _matcher(edges, weights=other, flips=flips), {"weights": of_shots}
    yield _matcher(edges, weights=other, flips=flips), {"weights": -of_shots, "logits": True}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 8), st.integers(3, 12), st.sampled_from(KINDS))
def test_nothing_weighs_less(reference, seed, detectors, count, kind):
    edges = reference.random_edges(np.random.default_rng(seed), detectors=detectors, count=count, kind=kind)
    least, syndromes = edges.least_weights().min(axis=1), edges.all_syndromes()
    for matcher, options in _ways(edges, len(syndromes)):
        found, weight, explained = matcher.match(_packed(syndromes), **options)
        assert np.array_equal(explained, np.isfinite(least))
        assert np.array_equal((found @ edges.incidence % 2)[explained], syndromes[explained])
        np.testing.assert_allclose(weight[explained], least[explained], atol=1e-4)
        np.testing.assert_allclose(found @ edges.weights.astype(np.float64), weight, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 7), st.integers(3, 11), st.sampled_from(KINDS))
def test_nothing_weighs_less_in_either_class(reference, seed, detectors, count, kind):
    edges = reference.random_edges(np.random.default_rng(seed), detectors=detectors, count=count, kind=kind)
    if reference.flips_on_a_cycle(edges):
        with pytest.raises(ValueError, match="closes a cycle of edges between detectors that flips"):
            _matcher(edges, flips=True)
        # Half of the edges of a random graph flip: of few detectors, labels explain what is left.
        labels = np.random.default_rng(seed).integers(0, 2, detectors + 1)
        inside = edges.ends[1] >= 0
        flips = np.where(inside, labels[edges.ends[0]] ^ labels[edges.ends[1]], edges.flips)
        edges = reference.Edges(detectors, edges.ends, edges.weights, flips)
    least, syndromes = edges.least_weights(), edges.all_syndromes()
    for matcher, options in _ways(edges, len(syndromes), flips=True):
        *classes, weights = matcher.match_classes(_packed(syndromes), **options)
        assert np.array_equal(np.isfinite(weights), np.isfinite(least))
        for k, found in enumerate(classes):
            some = np.isfinite(least[:, k])
            assert not found[~some].any()
            assert np.array_equal((found @ edges.incidence % 2)[some], syndromes[some])
            assert (found[some] @ edges.flips % 2 == k).all()
            np.testing.assert_allclose(weights[some, k], least[some, k], atol=1e-4)
        gap = matcher.gap(_packed(syndromes), **options)
        with np.errstate(invalid="ignore"):
            np.testing.assert_allclose(gap, least[:, 1] - least[:, 0], atol=1e-4)
        limited = matcher.gap(_packed(syndromes), **options, limit=1.5)
        np.testing.assert_allclose(limited, np.clip(gap, -1.5, 1.5), atol=1e-5)


@pytest.mark.parametrize("size", [60, 400])
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 1e4])
def test_dense_graphs_weigh_what_pymatching_finds(reference, size, scale):
    """Half of all detectors fire: one cluster, with blossoms in blossoms; all weights alike, tiny or huge."""
    rng = np.random.default_rng(size)
    edges = reference.random_edges(rng, detectors=size, count=5 * size, kind="normal")
    weights = rng.exponential(1, (3, 5 * size)).astype(np.float32) * np.float32(scale)
    syndromes = rng.integers(0, 2, (3, size)).astype(np.uint8)
    found, weight, explained = _matcher(edges).match(_packed(syndromes), weights)
    assert explained.all()
    assert np.array_equal(found @ edges.incidence % 2, syndromes)
    expected = edges.pymatching_weights(weights, syndromes)
    np.testing.assert_allclose(weight, expected, rtol=1e-5, atol=1e-4 * max(scale, 1e-2))


def _grid(reference, size: int):
    """A square lattice with boundary edges left, which flip, and right."""
    at = np.arange(size * size).reshape(size, size)
    right, down = (at[:, :-1], at[:, 1:]), (at[:-1], at[1:])
    ends = np.concatenate(
        [
            *(np.stack([a.ravel(), b.ravel()]) for a, b in (right, down)),
            *(np.stack([side, np.full(size, -1)]) for side in (at[:, 0], at[:, -1])),
        ],
        axis=1,
    )
    flips = np.zeros(ends.shape[1], dtype=np.int64)
    flips[-2 * size : -size] = 1
    return reference.Edges(
        size * size, ends.astype(np.int32), np.ones(ends.shape[1], dtype=np.float32), flips
    )


@pytest.mark.parametrize("density", [0.02, 0.1, 0.5])
def test_both_classes_of_a_lattice(reference, density):
    """The other class is what PyMatching finds with the left boundary as one more detector."""
    rng, edges = np.random.default_rng(3), _grid(reference, 12)
    shots, count = 20, edges.ends.shape[1]
    weights = rng.normal(4, 2, (shots, count)).astype(np.float32)
    syndromes = (rng.random((shots, edges.num_detectors)) < density).astype(np.uint8)
    zero, one, found = _matcher(edges, flips=True).match_classes(_packed(syndromes), weights)
    # PyMatching keeps the lighter one of parallel edges with negative weights: there are none here.
    ends = np.where(edges.flips == 1, np.array([[0], [edges.num_detectors]]), 0)
    ends = np.where(edges.flips == 1, np.stack([edges.ends[0], ends[1]]), edges.ends)
    with_hub = reference.Edges(edges.num_detectors + 1, ends, edges.weights, edges.flips)
    for k, moves in enumerate((zero, one)):
        both = np.concatenate([syndromes, np.full((shots, 1), k, dtype=np.uint8)], axis=1)
        assert np.array_equal(moves @ with_hub.incidence % 2, both)
        np.testing.assert_allclose(found[:, k], with_hub.pymatching_weights(weights, both), atol=2e-3)


def test_a_shot_does_not_depend_on_its_batch_or_thread(reference):
    rng, edges = np.random.default_rng(4), _grid(reference, 10)
    weights = np.round(rng.normal(1, 1, (64, edges.ends.shape[1]))).astype(np.float32)  # many ties
    packed = _packed(rng.integers(0, 2, (64, edges.num_detectors)).astype(np.uint8))
    matcher = _matcher(edges, flips=True)
    whole = matcher.match_classes(packed, weights)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda k: matcher.match_classes(packed[[k]], weights[[k]]), range(64)))
    for all_of_it, part in zip(whole, zip(*parts, strict=True), strict=True):
        assert np.array_equal(all_of_it, np.concatenate(part))
    assert matcher.match(packed[:0])[0].shape == (0, edges.ends.shape[1])


def test_what_nothing_explains_leaves_as_little_as_can_be(reference):
    """Two chains without a boundary, one detector without edges."""
    ends = np.array([[0, 1, 3], [1, 2, 4]], dtype=np.int32)
    matcher = _qecpipe.Matcher(ends, np.ones(3, dtype=np.float32), num_detectors=6)
    syndrome = np.array([[1, 1, 1, 1, 1, 1]], dtype=np.uint8)
    edges, _, explained = matcher.match(_packed(syndrome))
    incidence = reference.Edges(6, ends, np.ones(3, dtype=np.float32), np.zeros(3)).incidence
    assert not explained[0]
    left = (edges @ incidence + syndrome) % 2
    assert left[0].tolist() in ([1, 0, 0, 0, 0, 1], [0, 1, 0, 0, 0, 1], [0, 0, 1, 0, 0, 1])


@pytest.mark.parametrize("value", [np.inf, 1e30, np.nan])
def test_weights_without_bound_count_as_the_largest(reference, value):
    edges = _grid(reference, 4)
    weights = np.full((1, edges.ends.shape[1]), value, dtype=np.float32)
    syndrome = np.zeros((1, 16), dtype=np.uint8)
    syndrome[0, [5, 6]] = 1
    found, _, explained = _matcher(edges).match(_packed(syndrome), weights)
    assert explained.all()
    assert found.sum() == 1


@pytest.mark.parametrize(
    ("ends", "weights", "message"),
    [
        ([[0], [7]], [1.0], "edge 0 ends on D7, but D6 is the last detector"),
        ([[2], [2]], [1.0], "edge 0 has the ends 2 and 2"),
        ([[-1], [2]], [1.0], "edge 0 has the ends -1 and 2"),
        ([[1], [2]], [np.nan], "edge 0 has the weight"),
        ([[1], [2]], [1.0, 2.0], r"weights: got an array of float32 \(2,\), but float32 \(1,\)"),
    ],
)
def test_graphs_that_cannot_be_are_refused(ends, weights, message):
    with pytest.raises(ValueError, match=message):
        _qecpipe.Matcher(np.array(ends, dtype=np.int32), np.array(weights, dtype=np.float32), num_detectors=7)


def test_arrays_of_another_kind_are_refused(reference):
    edges = _grid(reference, 3)
    matcher = _matcher(edges)
    packed = np.zeros((2, 2), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"weights: got an array of float64 \(2, \d+\), but float32"):
        matcher.match(packed, np.zeros((2, edges.ends.shape[1])))
    with pytest.raises(ValueError, match=r"packed: got an array of uint8 \(2, 3\), but uint8 \(\*, 2\)"):
        matcher.match(np.zeros((2, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match="made without flips"):
        matcher.gap(packed)
    with pytest.raises(ValueError, match=r"limit: -1\.0+ is not at least 0"):
        _matcher(edges, flips=True).gap(packed, limit=-1.0)


def test_without_logits_the_weights_are_the_graphs_own() -> None:
    """Their sum once had the other sign, as that of logits has."""
    ends = np.array([[0], [-1]], dtype=np.int32)
    matcher = _qecpipe.Matcher(ends, np.array([2], dtype=np.float32), num_detectors=1)
    edges, weight, explained = matcher.match(np.array([[1]], dtype=np.uint8), None, logits=True)
    assert (edges.tolist(), weight.tolist(), explained.tolist()) == ([[1]], [2], [True])
