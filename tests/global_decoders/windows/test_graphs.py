"""Equal windows share a graph, and graphs with erased rounds are bounded."""

import gc
import itertools
import os
from collections.abc import Iterable

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


@pytest.mark.parametrize("inner", ["pymatching", "pymatching-correlated"])
def test_shots_alone_have_the_answers_of_a_batch(memory, inner) -> None:
    """Of a window with a cache, of one without, and of no detections at all."""
    layers = LayeredDem.from_dem(memory(distance=3, rounds=40, p=0.004))
    for window in (Window(start=9, lo=9, hi=12, stop=15), Window(start=0, lo=0, hi=20, stop=30)):
        matcher = WindowGraphs(inner=inner).matcher(layers, window)
        random = np.random.default_rng(2)
        shots = (random.random((50, len(matcher.places.inputs))) < 0.05).astype(np.uint8)
        shots[::7] = 0
        batch = matcher.decode(shots)
        assert batch.any()
        assert np.array_equal(batch, np.concatenate([matcher.decode(shot[None]) for shot in shots]))


_BULK = Window(start=9, lo=9, hi=12, stop=15)


def _erasing(layers: LayeredDem, rounds: Iterable[int]) -> list[tuple[int, Component]]:
    return [edge for layer in rounds for edge in _lost(layer, layers.kind(layer).sites)]


def test_graphs_with_erased_rounds_do_not_pile_up(memory, monkeypatch) -> None:
    layers = LayeredDem.from_dem(memory(distance=3, rounds=40, p=0.004))
    shared = WindowGraphs(inner="pymatching")
    first = shared.matcher(layers, _BULK, erased=_erasing(layers, (9, 10)))
    monkeypatch.setattr(graphs, "MOST_ERASED_BYTES", 4 * first.num_bytes + 5000)
    syndrome = np.zeros((1, len(cut(layers, _BULK).inputs)), dtype=np.uint8)
    for pair in itertools.combinations(range(9, 14), 2):
        assert not shared.matcher(layers, _BULK, erased=_erasing(layers, pair)).decode(syndrome).any()
        assert len(shared) <= 5
    assert len(shared) == 5  # four of them, and the one without


@pytest.mark.parametrize("inner", ["pymatching", "pymatching-correlated"])
def test_graphs_with_erased_rounds_take_no_more_memory_than_is_counted(memory, inner) -> None:
    """Those of d = 3 once took four times as much, most of it for tables of answers."""
    layers = LayeredDem.from_dem(memory(distance=3, rounds=40, p=0.004))
    shared = WindowGraphs(inner=inner)
    window = Window(start=9, lo=9, hi=12, stop=18)
    busy = (np.random.default_rng(1).random((500, len(cut(layers, window).inputs))) < 0.03).astype(np.uint8)
    counted, before = 0, 0
    for k, rounds in enumerate(itertools.combinations(range(9, 17), 3)):
        if k == 6:  # what the first ones of all need is not theirs
            before = _resident()
        matcher = shared.matcher(layers, window, erased=_erasing(layers, rounds))
        matcher.decode(busy)
        counted += matcher.num_bytes if k >= 6 else 0
    assert counted > 5_000_000
    assert _resident() - before < 1.2 * counted


def _resident() -> int:
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_of_graphs_that_nobody_asked_for_the_first_to_be_built_is_the_last_to_go(memory, monkeypatch) -> None:
    layers = LayeredDem.from_dem(memory(distance=3, rounds=40, p=0.004))
    shared = WindowGraphs(inner="pymatching")
    size = WindowGraphs(inner="pymatching").matcher(layers, _BULK, erased=_erasing(layers, (9, 10))).num_bytes
    shared.matcher(layers, _BULK)
    built: list[int] = []

    def of_graph(*args, **options) -> WindowMatcher:
        built.append(1)
        return make(*args, **options)

    make = WindowMatcher.of_graph
    monkeypatch.setattr(WindowMatcher, "of_graph", of_graph)
    kept = [_erasing(layers, [layer]) for layer in (9, 10, 11)]
    for lost in kept:
        assert shared.prebuild(layers, _BULK, erased=lost)
        assert shared.prebuild(layers, _BULK, erased=lost)  # it is there
    monkeypatch.setattr(graphs, "MOST_ERASED_BYTES", 3 * size + 1000)
    assert not shared.prebuild(layers, _BULK, erased=_erasing(layers, [12]))
    for pair in ((9, 11), (10, 12)):
        shared.matcher(layers, _BULK, erased=_erasing(layers, pair))
    assert len(built) == 5
    shared.matcher(layers, _BULK, erased=kept[0])
    assert len(built) == 5
    for lost in kept[1:]:
        shared.matcher(layers, _BULK, erased=lost)
    assert len(built) == 7
