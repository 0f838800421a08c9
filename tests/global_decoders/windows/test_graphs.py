"""Equal windows share a graph, and graphs with mechanisms besides the experiment's are bounded."""

import itertools

import numpy as np
import pytest

from global_decoders.windows import (
    Component,
    LayeredDem,
    Mechanism,
    Window,
    WindowGraphs,
    cut,
    graphs,
    windows_of,
)


def _lost(layer: int, sites: tuple[int, ...]) -> list[tuple[int, Mechanism]]:
    return [(layer, Mechanism(0.5, (Component(((0, s), (1, s)), ()),))) for s in sites]


@pytest.mark.parametrize("mode", ["sliding", "parallel"])
@pytest.mark.parametrize("basis", ["x", "z"])
def test_windows_of_a_kind_share_one_graph(memory, mode, basis) -> None:
    layers = LayeredDem.from_dem(memory(distance=3, rounds=40, p=0.004, basis=basis))
    shared = WindowGraphs(inner="pymatching")
    windows = list(windows_of(layers.num_layers, commit=3, buffer=2, mode=mode))
    found = {cut(layers, window): shared.matcher(layers, window) for window in windows}
    assert len(shared) == len(found) == len({id(m) for m in found.values()})
    assert all(shared.window_dem(layers, w) == cut(layers, w) for w in windows)


def test_added_mechanisms_are_cut_with_the_rest(memory) -> None:
    layers = LayeredDem.from_dem(memory(distance=3, rounds=40, p=0.004))
    window = Window(start=9, lo=9, hi=12, stop=15)
    more = _lost(10, layers.kind(10).sites) + _lost(14, layers.kind(14).sites)
    extended = WindowGraphs(inner="pymatching").matcher(layers, window, more=more)
    assert extended.window_dem == cut(layers, window, more=more)
    assert extended.window_dem != cut(layers, window)


def test_graphs_with_added_mechanisms_do_not_pile_up(memory, monkeypatch) -> None:
    monkeypatch.setattr(graphs, "_MOST_EXTENDED", 4)
    layers = LayeredDem.from_dem(memory(distance=3, rounds=40, p=0.004))
    shared = WindowGraphs(inner="pymatching")
    window = Window(start=9, lo=9, hi=12, stop=15)
    syndrome = np.zeros((1, len(cut(layers, window).inputs)), dtype=np.uint8)
    for pair in itertools.combinations(range(9, 14), 2):
        more = [edge for layer in pair for edge in _lost(layer, layers.kind(layer).sites)]
        assert not shared.matcher(layers, window, more=more).decode(syndrome).any()
        assert len(shared) <= 4
    shared.matcher(layers, window)
    assert len(shared) == 5
