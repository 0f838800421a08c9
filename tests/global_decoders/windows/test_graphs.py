"""Equal windows share a graph, and graphs with erased rounds are bounded."""

import itertools

import numpy as np
import pytest

from global_decoders.windows import (
    Component,
    LayeredDem,
    Window,
    WindowGraphs,
    WindowMatcher,
    cut,
    graphs,
    windows_of,
)


def _lost(layer: int, sites: tuple[int, ...]) -> list[tuple[int, Component]]:
    return [(layer, Component(((0, s), (1, s)), ())) for s in sites]


@pytest.mark.parametrize("mode", ["sliding", "parallel"])
@pytest.mark.parametrize("basis", ["x", "z"])
def test_windows_of_a_kind_share_one_graph(memory, mode, basis) -> None:
    layers = LayeredDem.from_dem(memory(distance=3, rounds=40, p=0.004, basis=basis))
    shared = WindowGraphs(inner="pymatching")
    windows = list(windows_of(layers.num_layers, commit=3, buffer=2, mode=mode))
    found = {cut(layers, window): shared.matcher(layers, window) for window in windows}
    assert len(shared) == len(found) == len({id(m) for m in found.values()})
    assert all((shared.matcher(layers, w) is found[cut(layers, w)]) for w in windows)


def test_a_graph_that_could_not_be_built_can_be_tried_again(memory, monkeypatch) -> None:
    layers = LayeredDem.from_dem(memory(distance=3, rounds=20, p=0.004))
    shared = WindowGraphs(inner="pymatching")
    window = Window(start=9, lo=9, hi=12, stop=15)

    def fails(dem: object, *, inner: str) -> WindowMatcher:
        raise ValueError("no memory for this graph")

    with monkeypatch.context() as patch:
        patch.setattr(WindowMatcher, "of_dem", fails)
        for _ in range(2):
            with pytest.raises(ValueError, match="no memory"):
                shared.matcher(layers, window)
    assert shared.matcher(layers, window) is shared.matcher(layers, window)


def test_graphs_with_erased_rounds_do_not_pile_up(memory, monkeypatch) -> None:
    layers = LayeredDem.from_dem(memory(distance=3, rounds=40, p=0.004))
    shared = WindowGraphs(inner="pymatching")
    window = Window(start=9, lo=9, hi=12, stop=15)
    monkeypatch.setattr(graphs, "MOST_ERASED_EDGES", 4 * shared.matcher(layers, window).num_edges + 10)
    syndrome = np.zeros((1, len(cut(layers, window).inputs)), dtype=np.uint8)
    for pair in itertools.combinations(range(9, 14), 2):
        more = [edge for layer in pair for edge in _lost(layer, layers.kind(layer).sites)]
        assert not shared.matcher(layers, window, erased=more).decode(syndrome).any()
        assert len(shared) <= 5
    assert len(shared) == 5  # four of them, and the one without
