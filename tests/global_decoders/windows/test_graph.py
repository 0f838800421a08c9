"""A window's graph as data is the graph, and freeing edges is what an erasure's mechanisms would do."""

import numpy as np
import pytest

from global_decoders.windows import Component, LayeredDem, Mechanism, Window, WindowGraphs, WindowMatcher, cut

WINDOW = Window(start=9, lo=9, hi=12, stop=15)
OPEN = Window(start=6, lo=9, hi=12, stop=15, past_closed=False)
LAST = Window(start=9, lo=9, hi=12, stop=12)  # no look-ahead: an erased round's edge ends at the border


def _lost(layers: LayeredDem, layer: int) -> list[tuple[int, Component]]:
    return [(layer, Component(((0, s), (1, s)), ())) for s in layers.kind(layer).sites]


def _edges(matcher: WindowMatcher) -> dict[tuple[int, int], tuple[float, frozenset[object]]]:
    """Weights, and what edges flip by place and not by number."""
    graph, places = matcher.graph, matcher.places
    flips = [*range(places.num_observables), *places.artificial_defects]
    return {
        (u, v): (weight, frozenset(flips[k] for k in graph.flips[start:stop]))
        for (u, v), weight, start, stop in zip(
            graph.ends.tolist(), graph.weights.tolist(), graph.starts[:-1], graph.starts[1:], strict=True
        )
    }


@pytest.mark.parametrize("inner", ["pymatching", "pymatching-correlated"])
def test_a_graph_built_from_its_data_is_the_same(memory, inner) -> None:
    layers = LayeredDem.from_dem(memory(distance=5, rounds=40, p=0.01))
    matcher = WindowMatcher.of_dem(cut(layers, WINDOW), inner=inner)
    steps: list[None] = []
    again = WindowMatcher.of_graph(matcher.graph, throttle=lambda: steps.append(None))
    assert again.places == matcher.places
    assert len(steps) > (1 if inner == "pymatching" else 0)
    shots = np.random.default_rng(1).random((3000, len(matcher.places.inputs))) < 0.06
    assert np.array_equal(matcher.decode(shots.astype(np.uint8)), again.decode(shots.astype(np.uint8)))
    if inner == "pymatching":
        built, listed = (WindowMatcher.of_graph(m.graph)._compiled.matching for m in (matcher, again))
        assert built.edges() == listed.edges()
        assert _edges(again) == _edges(matcher)


@pytest.mark.parametrize("window", [WINDOW, OPEN, LAST])
@pytest.mark.parametrize("erased", [[10], [9, 10], [8], [11], [14]])
def test_freed_edges_are_those_of_a_model_with_coin_tosses(memory, window, erased) -> None:
    layers = LayeredDem.from_dem(memory(distance=3, rounds=40, p=0.004))
    lost = [edge for layer in erased for edge in _lost(layers, layer)]
    tosses = [(layer, Mechanism(0.5, (component,))) for layer, component in lost]
    freed = WindowGraphs(inner="pymatching").matcher(layers, window, erased=lost)
    expected = WindowMatcher.of_dem(cut(layers, window, more=tosses), inner="pymatching")
    assert set(freed.places.artificial_defects) == set(expected.places.artificial_defects)
    assert _edges(freed) == _edges(expected)


@pytest.mark.parametrize("erased", [[10], [9, 10], [11]])
def test_freed_edges_of_a_correlated_graph_weigh_the_same(memory, erased) -> None:
    """PyMatching does not tell what its correlations are: the answers are compared, ties aside."""
    layers = LayeredDem.from_dem(memory(distance=3, rounds=40, p=0.01))
    lost = [edge for layer in erased for edge in _lost(layers, layer)]
    tosses = [(layer, Mechanism(0.5, (component,))) for layer, component in lost]
    freed = WindowGraphs(inner="pymatching-correlated").matcher(layers, WINDOW, erased=lost)
    expected = WindowMatcher.of_dem(cut(layers, WINDOW, more=tosses), inner="pymatching-correlated")
    assert freed.places == expected.places
    shots = (np.random.default_rng(2).random((3000, len(freed.places.inputs))) < 0.02).astype(np.uint8)
    same = (freed.decode(shots)[:, 0] == expected.decode(shots)[:, 0]).mean()
    assert same > 0.97
