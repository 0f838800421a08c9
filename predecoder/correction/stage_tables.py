"""What `_qecpipe.Stage` knows of an experiment: moves, hyperedges and what always happens, by layer.

A layer's row has a bit for every site of the experiment (`LayeredDem.positions`). Shape legend: (I, J) the
ancilla grid.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from _qecpipe import StageTables
from global_decoders.windows import LayeredDem
from predecoder.correction.hyperedges import StreamHyperedges
from predecoder.correction.policies import ThresholdPolicy
from qec import DecodingProblem

__all__ = ["LayerMoves", "Sites", "stage_tables"]

Move = tuple[int, list[tuple[int, int]], list[int]]
"""Place on the grid (3, I, J), detectors as (layer, site) from the move's layer on, observables."""


class Sites:
    """Where the sites of an experiment stand in the flattened (I, J) grid.

    Attributes:
        of_cell: int64 `(I * J,)`: the site at each cell, -1 for none.
        cells: per layer that was read, int64 `(detectors,)`: cells of its detectors.
    """

    def __init__(self, problem: DecodingProblem, layers: LayeredDem) -> None:
        area = int(np.prod(problem.layout.shape[1:]))
        flat = problem.layout.flat_voxels % area
        self.cells = tuple(flat[detectors] for detectors in layers.source_detectors)
        self.of_cell = np.full(area, -1, dtype=np.int64)
        for kind, cells in zip(layers.source, self.cells, strict=True):
            self.of_cell[cells] = layers.kinds[kind].sites


class LayerMoves:
    """The moves of single layers of an experiment."""

    def __init__(self, problem: DecodingProblem, layers: LayeredDem, sites: Sites) -> None:
        self._problem, self._sites = problem, sites
        self._cells = dict(zip(layers.source, sites.cells, strict=True))
        kinds, cut, cycle = layers.source, layers.cut, layers.cycle
        pairs = {*itertools.pairwise(kinds), (kinds[-1], -1)}
        if cycle:
            pairs.add((kinds[cut - 1], kinds[cut - cycle]))
        self.pairs = sorted(pairs)
        """Kinds of layers that follow each other, -1 being none, in experiments of any length."""

    def of(self, kind: int, following: int) -> Iterator[Move]:
        """The moves of a layer of a kind before one of another kind, or before none."""
        cells = [self._cells[kind], *([self._cells[following]] if following >= 0 else [])]
        layout, moves = self._problem.moves_of_layers(cells)
        area = len(self._sites.of_cell)
        grid, layer, cell = np.unravel_index(moves.positions, (3, layout.shape[0], area))
        nodes = [(t, site) for t, where in enumerate(cells) for site in self._sites.of_cell[where].tolist()]
        observables = moves.observables.tocsc()
        for k in np.flatnonzero(layer == 0).tolist():
            ends = [nodes[detector] for detector in moves.ends[:, k].tolist() if detector >= 0]
            flips = observables.indices[observables.indptr[k] : observables.indptr[k + 1]].tolist()
            yield int(grid[k] * area + cell[k]), ends, flips


def stage_tables(
    problem: DecodingProblem,
    layers: LayeredDem,
    *,
    sites: Sites,
    policy: ThresholdPolicy | None,
    hyperedges: StreamHyperedges | None,
    numbers: np.ndarray,
    layer_size: int,
    min_rounds: int,
) -> StageTables:
    """The tables of a stage.

    Args:
        problem: an experiment of any number of rounds on the patch.
        layers: of its DEM.
        policy: commits moves; None where windows are matched on the logits and none is committed before.
        hyperedges: those that the policy looks at, if it does.
        numbers: int `(3 * I * J,)`: of the logit of every place of a layer.
        layer_size: logits of a layer.
        min_rounds: of the shortest experiment that moves are committed in.
    """
    rule = policy or ThresholdPolicy()
    tables = StageTables(
        kinds=list(layers.source),
        cut=layers.cut,
        cycle=layers.cycle,
        num_sites=len(layers.positions),
        num_observables=layers.num_observables,
        layer_size=layer_size,
        propose=rule.propose,
        commit=rule.commit,
        empty_residual=rule.residual == "empty",
        keeps_logits=policy is None,
        min_rounds=min_rounds,
        reach=0 if hyperedges is None else hyperedges.reach,
        lookahead=0 if hyperedges is None else hyperedges.lookahead,
    )
    moves = LayerMoves(problem, layers, sites)
    for pair in moves.pairs:
        tables.add_moves(pair, [(int(numbers[place]), ends, flips) for place, ends, flips in moves.of(*pair)])
    for places in hyperedges.places() if hyperedges is not None else ():
        area = len(sites.of_cell)
        tables.add_hyperedges(
            [[(node // area, int(sites.of_cell[node % area])) for node in edge] for edge in places]
        )
    certain = [
        [(0, list(component.detectors), list(component.observables)) for component in kind.certain]
        for kind in layers.kinds
    ]
    if any(certain):
        tables.set_certain(certain, layers.reach)
    tables.check()
    return tables
