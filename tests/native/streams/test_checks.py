"""Tables of windows and stages that do not fit are refused before memory is touched."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import _qecpipe

_NOTHING: dict[str, Any] = {
    "artificial_defects": np.zeros((0, 2), dtype=np.int32),
    "flips": np.zeros(0, dtype=np.int32),
    "together": np.zeros(0, dtype=np.int32),
    "others": np.zeros(0, dtype=np.int32),
    "joint": np.zeros(0, dtype=np.float64),
    "certain_inputs": np.zeros(0, dtype=np.int32),
    "certain_flips": np.zeros(0, dtype=np.int32),
}


def _window(logits: list[int], *, layer_size: int = 4) -> _qecpipe.WindowDecoder:
    """Two layers of one site, with an edge for every logit."""
    edges = len(logits)
    return _qecpipe.WindowDecoder(
        num_layers=2,
        num_sites=1,
        num_observables=1,
        inputs=np.array([[0, 0], [1, 0]], dtype=np.int32),
        ends=np.array([[0, 1]] * edges, dtype=np.int32),
        weights=np.ones(edges),
        starts=np.zeros(edges + 1, dtype=np.int32),
        logits=np.array(logits, dtype=np.int32),
        layer_size=layer_size,
        **_NOTHING,
    )


@pytest.mark.parametrize("logits", [[4, 3], [8, -1, 5], [1, 0, 9, 3]])
def test_logits_are_in_the_order_of_their_layers(logits: list[int]) -> None:
    """They are read in one pass; one of a layer before was read past the row."""
    with pytest.raises(ValueError, match="not in the order of their layers"):
        _window(logits)
    _window(sorted(logits, key=lambda number: number // 4))


def test_windows_on_logits_need_layers_of_as_many() -> None:
    window = _window([1, 5])
    detectors = np.array([[0, 0], [1, 0]], dtype=np.int32)
    options: dict[str, Any] = {"num_sites": 1, "num_observables": 1, "certain_observables": []}
    batch = _qecpipe.WindowBatch(starts=[0], decoders=[window], detectors=detectors, **options)
    packed = np.zeros((1, 1), dtype=np.uint8)
    with pytest.raises(ValueError, match="matched on layers of 4 logits, where there are 0"):
        batch.decode(packed)
    batch.match_on([1, 5], 3)
    with pytest.raises(ValueError, match="matched on layers of 4 logits, where there are 3"):
        batch.decode(packed, np.zeros((1, 2), dtype=np.float32))
    batch.match_on([1, 5], 4)
    assert batch.decode(packed, np.zeros((1, 2), dtype=np.float32)).shape == (1, 1)


def _tables() -> _qecpipe.StageTables:
    return _qecpipe.StageTables(
        kinds=[0, 1, 0],
        cut=0,
        cycle=0,
        num_sites=2,
        num_observables=1,
        layer_size=4,
        propose=0.0,
        commit=0.0,
        empty_residual=False,
        keeps_logits=True,
        min_rounds=1,
        reach=1,
        lookahead=0,
    )


@pytest.mark.parametrize(
    ("by_kind", "reach", "message"),
    [
        ([[]], 1, "another number of kinds"),
        ([[], [], []], 1, "another number of kinds"),
        ([[], [(0, [(2, 0)], [])]], 1, "past its reach"),
        ([[], [(0, [(-1, 0)], [])]], 1, "past its reach"),
        ([[], [(0, [(0, 2)], [])]], 1, "at no site"),
        ([[], [(0, [(0, 0)], [1])]], 1, "no known observable"),
        ([[], []], -1, "reach before their layer"),
    ],
)
def test_errors_that_always_happen_fit_the_layers(by_kind: list, reach: int, message: str) -> None:
    tables = _tables()
    tables.set_certain(by_kind, reach)
    with pytest.raises(ValueError, match=message):
        _qecpipe.Stage(tables)
    tables.set_certain([[], [(0, [(1, 1)], [0])]], 1)
    _qecpipe.Stage(tables)


@pytest.mark.parametrize(
    ("move", "message"),
    [
        ((4, [(0, 0)], [0]), "a move without a logit"),
        ((0, [(0, 0)], [1]), "a move that flips no known observable"),
        ((0, [(0, 0), (2, 0)], [0]), "a move at no site"),
    ],
)
def test_moves_fit_the_layers(move: tuple, message: str) -> None:
    tables = _tables()
    tables.add_moves((0, 1), [(0, [(0, 0), (1, 1)], [0])])
    tables.check()
    tables.add_moves((1, 0), [move])
    with pytest.raises(ValueError, match=rf"^a pre-decoder stage has {message}$"):
        tables.check()


def test_hyperedges_are_of_every_layer_or_of_none() -> None:
    tables = _tables()
    for _ in range(2):
        tables.add_hyperedges([])
    with pytest.raises(ValueError, match=r"^a pre-decoder stage has hyperedges of another number of layers$"):
        tables.check()
    tables.add_hyperedges([[(0, 0), (1, 1)]])
    tables.check()


def test_kinds_of_layers_are_numbers() -> None:
    with pytest.raises(ValueError, match="a layer is of kind -1"):
        _qecpipe.RoundSource(
            kinds=[0, -1],
            cut=0,
            cycle=0,
            given_layers=2,
            num_sites=1,
            measured=False,
            depth=0,
            num_observables=0,
            observables=[],
            observable_parities=[],
            certain_observables=[],
        )
