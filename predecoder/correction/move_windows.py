"""`neural-matching` in windows: graphs of moves, whose weights are the logits of a shot.

A window's edges are the moves that it sees, cut and committed by the rules of `global_decoders.windows` as
the components of an error model are; a move belongs to its layer.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from _qecpipe import WindowBatch
from global_decoders.windows import (
    Component,
    LayeredDem,
    Window,
    WindowGraph,
    WindowGraphs,
    WindowSizes,
    certain_in,
    check_windows,
    inputs_of,
    seen_in,
    window_places,
)
from predecoder.correction.stage_tables import LayerMoves, Sites
from qec import DecodingProblem

__all__ = ["NEURAL_MATCHING", "move_graphs", "move_windows"]

NEURAL_MATCHING = "neural-matching"


def move_graphs(
    problem: DecodingProblem, layers: LayeredDem, *, sites: Sites, numbers: np.ndarray, layer_size: int
) -> WindowGraphs:
    """The graphs of windows that are matched on logits.

    Args:
        problem: an experiment of any number of rounds on the patch.
        layers: of its DEM.
        numbers: int `(3 * I * J,)`: of the logit of every place of a layer.
        layer_size: logits of a layer.
    """
    moves = LayerMoves(problem, layers, sites)

    @cache
    def components(kind: int, following: int) -> list[tuple[int, Component]]:
        found = moves.of(kind, following)
        return [(int(numbers[at]), Component(tuple(sorted(ends)), tuple(flips))) for at, ends, flips in found]

    def make(experiment: LayeredDem, window: Window) -> WindowGraph:
        inputs, number = inputs_of(experiment, window)
        edges, logits = [], []
        for t in range(max(0, window.start - 1), window.stop):
            for place, component in components(experiment.kind_id(t), experiment.kind_id(t + 1)):
                if (seen := seen_in(window, component, t, number=number)) is not None:
                    edges.append(seen)
                    logits.append((t - window.start + 1) * layer_size + place)
        certain = certain_in(experiment, window, number=number)
        places = window_places(inputs, experiment.num_observables, [label for _, label in edges], certain)
        fault_ids = places.fault_ids
        labels = [
            [*observables, *(fault_ids[place] for place in handed_on)]
            for _, (observables, handed_on) in edges
        ]
        ends = [(edge[0], edge[1]) if len(edge) == 2 else (-1, edge[0]) for edge, _ in edges]
        nothing = np.zeros(0, dtype=np.int32)
        return WindowGraph(
            places=places,
            ends=np.array(ends, dtype=np.int32).reshape(-1, 2),
            weights=np.ones(len(edges)),
            starts=np.cumsum([0, *map(len, labels)], dtype=np.int32),
            flips=np.array([flip for label in labels for flip in label], dtype=np.int32),
            together=nothing,
            others=nothing,
            joint=np.zeros(0),
            logits=np.array(logits, dtype=np.int32),
            layer_size=layer_size,
        )

    return WindowGraphs(inner=NEURAL_MATCHING, make=make, reach=1, ahead=1)


def move_windows(problem: DecodingProblem, sizes: WindowSizes) -> WindowBatch:
    """The windows of whole shots, matched on logits in the order of `MoveSet`.

    Raises:
        ValueError: windows of these sizes cannot decode the DEM.
    """
    layers = LayeredDem.from_dem(problem.normal.exact_dem.flattened())
    check_windows(layers, sizes)
    layout, moves = problem.layout, problem.moves
    area = int(np.prod(layout.shape[1:]))
    size = 3 * area
    graphs = move_graphs(
        problem, layers, sites=Sites(problem, layers), numbers=np.arange(size), layer_size=size
    )
    windows = list(sizes.windows(layers.num_layers))
    batch = WindowBatch(
        starts=[window.start for window in windows],
        decoders=[graphs.decoder(layers, window) for window in windows],
        detectors=layers.detector_places(),
        num_sites=len(layers.positions),
        num_observables=layers.num_observables,
        certain_observables=list(layers.certain_observables),
    )
    kind, layer, cell = np.unravel_index(moves.positions, (3, layout.shape[0], area))
    batch.match_on((layer * size + kind * area + cell).tolist(), size)
    return batch
