"""Arguments of bindings: what is read is what NumPy has, or there is an error that says what was expected."""

import numpy as np
import pytest

import _qecpipe

ENDS = np.array([[0, 1, 2], [1, 2, -1]], dtype=np.int32)


def _tables() -> _qecpipe.MoveTables:
    """Three moves on three detectors; the last one flips the only observable."""
    starts, observables = np.array([0, 0, 0, 1], dtype=np.int32), np.array([0], dtype=np.int32)
    return _qecpipe.MoveTables(ENDS, starts, observables, num_detectors=3, num_observables=1)


def test_results_are_arrays_of_their_own() -> None:
    packed, moves = np.array([[0b101]], dtype=np.uint8), np.array([[1, 0, 1]], dtype=np.uint8)
    residual, flips = _tables().apply(packed, moves)
    assert residual.tolist() == [[0b101 ^ 0b011 ^ 0b100]]
    assert flips.tolist() == [[1]]
    residual[:] = 0
    assert packed.tolist() == [[0b101]]
    assert residual.flags.writeable


@pytest.mark.parametrize(
    "order", ["every other row", "every other column", "backwards", "Fortran", "broadcast"]
)
def test_any_strides_are_read(order: str) -> None:
    rng = np.random.default_rng(1)
    moves = rng.integers(0, 2, (6, 3), dtype=np.uint8)
    packed = rng.integers(0, 8, (6, 1), dtype=np.uint8)
    strided = {
        "every other row": lambda: np.repeat(moves, 2, axis=0)[::2],
        "every other column": lambda: np.repeat(moves, 2, axis=1)[:, ::2],
        "backwards": lambda: np.ascontiguousarray(moves[::-1])[::-1],
        "Fortran": lambda: np.asfortranarray(moves),
        "broadcast": lambda: np.broadcast_to(moves[:1], moves.shape),
    }[order]()
    for got, expected in zip(
        _tables().apply(packed, strided), _tables().apply(packed, strided.copy()), strict=True
    ):
        assert np.array_equal(got, expected)


def test_read_only_arrays_are_read() -> None:
    packed, moves = np.zeros((2, 1), dtype=np.uint8), np.zeros((2, 3), dtype=np.uint8)
    packed.flags.writeable = moves.flags.writeable = False
    assert _tables().apply(packed, moves)[0].tolist() == [[0], [0]]


@pytest.mark.parametrize(
    ("moves", "message"),
    [
        (np.zeros((2, 4), dtype=np.uint8), r"moves: got an array of uint8 \(2, 4\), but uint8 \(\*, 3\)"),
        (np.zeros(3, dtype=np.uint8), r"moves: got an array of uint8 \(3,\), but uint8 \(\*, 3\)"),
        (np.zeros((2, 3)), r"moves: got an array of float64 \(2, 3\), but uint8 \(\*, 3\)"),
        (np.zeros((2, 3), dtype=bool), r"moves: got an array of bool \(2, 3\), but uint8"),
        (np.zeros((1, 3), dtype=np.uint8), r"packed: got an array of uint8 \(2, 1\), but uint8 \(1, 1\)"),
    ],
)
def test_another_type_or_shape_is_refused(moves: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _tables().apply(np.zeros((2, 1), dtype=np.uint8), moves)


def test_what_is_no_array_is_refused() -> None:
    with pytest.raises(TypeError):
        _tables().apply([[0]], [[0, 0, 0]])  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("ends", "starts", "observables", "message"),
    [
        ([[0, 1, 3], [1, 2, -1]], [0, 0, 0, 1], [0], "detector 3 is not one of 3"),
        ([[0, 1, 2], [1, -2, -1]], [0, 0, 0, 1], [0], "detector -2 is not one of 3"),
        ([[0, 1, 2], [1, 2, -1]], [0, 0, 0, 1], [1], "observable 1 is not one of 1"),
        ([[0, 1, 2], [1, 2, -1]], [0, 0, 0, 2], [0], "do not fit each other"),
        ([[0, 1, 2], [1, 2, -1]], [0, 2, 0, 1], [0], "do not fit each other"),
    ],
)
def test_tables_that_name_what_there_is_not_are_refused(ends, starts, observables, message: str) -> None:
    tables = (np.array(values, dtype=np.int32) for values in (ends, starts, observables))
    with pytest.raises(ValueError, match=message):
        _qecpipe.MoveTables(*tables, num_detectors=3, num_observables=1)
