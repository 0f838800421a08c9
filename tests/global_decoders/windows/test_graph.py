"""A window's graph is PyMatching's, and freeing edges is what an erasure's mechanisms would do."""

import numpy as np
import pymatching
import pytest
import stim

from global_decoders.windows import Component, LayeredDem, Mechanism, Window, WindowGraph, WindowGraphs, cut

WINDOW = Window(start=9, lo=9, hi=12, stop=15)
OPEN = Window(start=6, lo=9, hi=12, stop=15, past_closed=False)
LAST = Window(start=9, lo=9, hi=12, stop=12)  # no look-ahead: an erased round's edge ends at the border
CORRELATED = {"pymatching": False, "pymatching-correlated": True}


def _lost(layers: LayeredDem, layer: int) -> list[tuple[int, Component]]:
    return [(layer, Component(((0, s), (1, s)), ())) for s in layers.kind(layer).sites]


def _errors(lost: list[tuple[int, Component]]) -> list[tuple[int, list[tuple[int, int]], list[int]]]:
    return [(layer, list(c.detectors), list(c.observables)) for layer, c in lost]


def _native(window: Window) -> tuple[int, int, int, int, bool, bool]:
    return (window.start, window.lo, window.hi, window.stop, window.past_closed, window.future_closed)


@pytest.mark.parametrize("window", [WINDOW, OPEN, LAST])
def test_edges_and_weights_are_pymatchings(memory, window) -> None:
    dem = cut(LayeredDem.from_dem(memory(distance=5, rounds=40, p=0.01)), window)
    matching = pymatching.Matching.from_detector_error_model(stim.DetectorErrorModel(dem.text))
    expected = {
        (-1, u) if v is None else (min(u, v), max(u, v)): (found["weight"], found["fault_ids"])
        for u, v, found in matching.edges()
    }
    graph = WindowGraph.of_dem(dem, correlated=False)
    assert {tuple(ends) for ends in graph.ends.tolist()} == set(expected)
    for k, (u, v) in enumerate(graph.ends.tolist()):
        weight, fault_ids = expected[u, v]
        assert graph.weights[k] == pytest.approx(weight)
        assert set(graph.flips[graph.starts[k] : graph.starts[k + 1]].tolist()) == fault_ids


@pytest.mark.parametrize("inner", CORRELATED)
@pytest.mark.parametrize("window", [WINDOW, OPEN])
def test_matchings_are_pymatchings(memory, reference, inner, window) -> None:
    """Ties aside: two matchings of one weight may differ in what they flip."""
    layers = LayeredDem.from_dem(memory(distance=5, rounds=40, p=0.01), correlated=CORRELATED[inner])
    dem = cut(layers, window)
    shots = (np.random.default_rng(1).random((2000, len(dem.inputs))) < 0.03).astype(np.uint8)
    expected = reference.matching(dem, correlated=CORRELATED[inner]).decode_batch(
        shots, enable_correlations=CORRELATED[inner]
    )
    found = WindowGraphs(inner=inner).decoder(layers, window).decode(shots)
    assert (found[:, 0] == expected[:, 0]).mean() > 0.99
    assert (found == expected).all(axis=1).mean() > 0.9


_PAIR = stim.DetectorErrorModel("error(0.1) D0 D1\ndetector(0, 0, 0) D0\ndetector(2, 0, 0) D1")


def test_what_no_edges_explain_is_an_error() -> None:
    layers = LayeredDem.from_dem(_PAIR)
    decoder = WindowGraphs(inner="pymatching").decoder(layers, Window(start=0, lo=0, hi=1, stop=1))
    assert not decoder.decode(np.array([[1, 1]], dtype=np.uint8)).size
    with pytest.raises(ValueError, match="no set of edges explains the detections of shot 1"):
        decoder.decode(np.array([[1, 1], [0, 1]], dtype=np.uint8))
    with pytest.raises(ValueError, match="detections"):
        decoder.decode(np.zeros((1, 3), dtype=np.uint8))


@pytest.mark.parametrize("inner", CORRELATED)
@pytest.mark.parametrize("window", [WINDOW, OPEN, LAST])
@pytest.mark.parametrize("erased", [[10], [9, 10], [8], [11], [14]])
def test_freed_edges_are_those_of_a_model_with_coin_tosses(memory, window, erased, inner) -> None:
    correlated = CORRELATED[inner]
    layers = LayeredDem.from_dem(memory(distance=3, rounds=40, p=0.01), correlated=correlated)
    lost = [edge for layer in erased for edge in _lost(layers, layer)]
    tosses = [(layer, Mechanism(0.5, (component,))) for layer, component in lost]
    freed = WindowGraphs(inner=inner).decoder(layers, window).freed(_native(window), _errors(lost))
    dem = cut(layers, window, more=tosses)
    expected = WindowGraph.of_dem(dem, correlated=correlated)
    decoder = expected.decoder(num_layers=window.stop - window.start, num_sites=len(layers.positions))
    assert set(freed.artificial_defects) == set(dem.artificial_defects)
    assert freed.num_edges == len(expected.ends)
    shots = (np.random.default_rng(2).random((1000, len(dem.inputs))) < 0.02).astype(np.uint8)
    # Edges of weight 0 tie often; what they leave alone is then the same.
    same = (freed.decode(shots)[:, 0] == decoder.decode(shots)[:, 0]).mean()
    assert same > 0.97


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"ends": np.array([[0, 9]], dtype=np.int32)}, "an edge of no detector"),
        ({"flips": np.array([3], dtype=np.int32)}, "an unknown fault id"),
        ({"starts": np.array([0, 2], dtype=np.int32)}, "flips without an edge"),
        ({"inputs": np.array([[0, 0], [0, 7]], dtype=np.int32)}, "an input at no site"),
        ({"inputs": np.array([[0, 0], [4, 0]], dtype=np.int32)}, "an input outside its layers"),
        ({"weights": np.array([1.0, 2.0])}, "arrays of different lengths"),
        ({"certain_inputs": np.array([2], dtype=np.int32)}, "an unknown certain input"),
    ],
)
def test_graphs_that_do_not_fit_are_named(changed, named) -> None:
    from _qecpipe import WindowDecoder

    empty = np.zeros(0, dtype=np.int32)
    given = {
        "num_layers": 1,
        "num_sites": 2,
        "num_observables": 1,
        "inputs": np.array([[0, 0], [0, 1]], dtype=np.int32),
        "artificial_defects": np.zeros((0, 2), dtype=np.int32),
        "ends": np.array([[0, 1]], dtype=np.int32),
        "weights": np.array([1.0]),
        "starts": np.array([0, 1], dtype=np.int32),
        "flips": np.array([0], dtype=np.int32),
        "together": empty,
        "others": empty,
        "joint": np.zeros(0),
        "certain_inputs": empty,
        "certain_flips": empty,
        "logits": empty,
        "layer_size": 0,
    }
    assert WindowDecoder(**given).decode(np.ones((1, 2), dtype=np.uint8)).tolist() == [[1]]
    with pytest.raises(ValueError, match=named):
        WindowDecoder(**{**given, **changed})
