"""Equal windows share a graph."""

import numpy as np
import pytest

from global_decoders.windows import LayeredDem, Window, WindowGraph, WindowGraphs, cut, windows_of


@pytest.mark.parametrize("mode", ["sliding", "parallel"])
@pytest.mark.parametrize("basis", ["x", "z"])
def test_windows_of_a_kind_share_one_graph(memory, mode, basis) -> None:
    layers = LayeredDem.from_dem(memory(distance=3, rounds=40, p=0.004, basis=basis))
    shared = WindowGraphs(inner="pymatching")
    windows = list(windows_of(layers.num_layers, commit=3, buffer=2, mode=mode))
    found = {cut(layers, window): shared.graph(layers, window) for window in windows}
    assert len(shared) == len(found) == len({id(graph) for graph in found.values()})
    assert len(shared.native) == len(shared.by_key) >= len(shared)
    assert all((shared.graph(layers, w) is found[cut(layers, w)]) for w in windows)


def test_a_graph_that_could_not_be_built_can_be_tried_again(memory, monkeypatch) -> None:
    layers = LayeredDem.from_dem(memory(distance=3, rounds=20, p=0.004))
    shared = WindowGraphs(inner="pymatching")
    window = Window(start=9, lo=9, hi=12, stop=15)

    def fails(dem: object, *, correlated: bool) -> WindowGraph:
        raise ValueError("no memory for this graph")

    with monkeypatch.context() as patch:
        patch.setattr(WindowGraph, "of_dem", fails)
        for _ in range(2):
            with pytest.raises(ValueError, match="no memory"):
                shared.graph(layers, window)
    assert shared.decoder(layers, window) is shared.decoder(layers, window)


@pytest.mark.parametrize("inner", ["pymatching", "pymatching-correlated"])
def test_shots_alone_have_the_answers_of_a_batch(memory, inner) -> None:
    layers = LayeredDem.from_dem(memory(distance=3, rounds=40, p=0.004))
    for window in (Window(start=9, lo=9, hi=12, stop=15), Window(start=0, lo=0, hi=20, stop=30)):
        decoder = WindowGraphs(inner=inner).decoder(layers, window)
        random = np.random.default_rng(2)
        shots = (random.random((50, len(cut(layers, window).inputs))) < 0.05).astype(np.uint8)
        shots[::7] = 0
        batch = decoder.decode(shots)
        assert batch.any()
        assert np.array_equal(batch, np.concatenate([decoder.decode(shot[None]) for shot in shots]))
