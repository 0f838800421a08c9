"""int8 logits of the moves that exist: the kernel, compiled for the CPU, against its definition in NumPy."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuda.qecpipe import (
    LogitType,
    launch_on_cpu,
    quantize_moves_arguments,
    quantize_moves_entry,
    quantize_moves_reference,
)
from predecoder.blocking import blocked_places

SPECIAL = np.array(
    [0.0, -0.0, np.nan, np.inf, -np.inf, 1e-8, -6e-8, 0.0625, 0.1875, -0.0625, 15.9375, -16, 3e38]
)


def by_kernel(bits, places, dtype, *, scale, grid=None, block=None, backwards=False) -> np.ndarray:
    """int8 (S, M), with what lies behind it checked."""
    shots, moves = len(bits), len(places)
    size = shots * moves
    out = np.full(-(-size // 4) * 4 + 8, 0x55, dtype=np.int8)
    places = np.ascontiguousarray(places, dtype=np.int32)
    addresses = {"logits": bits.ctypes.data, "places": places.ctypes.data, "out": out.ctypes.data}
    best, threads, arguments = quantize_moves_arguments(
        **addresses, shots=shots, volume=bits.shape[1], moves=moves, scale=scale
    )
    launch_on_cpu(
        quantize_moves_entry(dtype),
        grid=grid or best,
        block=block or threads,
        arguments=arguments,
        backwards=backwards,
    )
    assert not out[size:-8].any()
    assert (out[-8:] == 0x55).all()
    return out[:size].reshape(shots, moves)


@given(
    seed=st.integers(0, 2**32 - 1),
    shots=st.integers(1, 9),
    moves=st.integers(1, 40),
    dtype=st.sampled_from(get_args(LogitType)),
    scale=st.sampled_from([8.0, 4.0, 1.0, 0.1, 1e30]),
    grid=st.integers(1, 4),
    block=st.integers(1, 40),
    backwards=st.booleans(),
)
def test_kernel_is_the_definition(element_bits, seed, shots, moves, dtype, scale, grid, block, backwards):
    rng = np.random.default_rng(seed)
    volume = moves + int(rng.integers(0, 9))
    values = rng.normal(0, 20, (shots, volume))
    special = rng.random(values.shape) < 0.3
    values[special] = rng.choice(SPECIAL, special.sum())
    places = rng.permutation(volume)[:moves]
    bits, exact = element_bits(values, dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = quantize_moves_reference(exact, places, scale=scale)
    got = by_kernel(bits, places, dtype, scale=scale, grid=grid, block=block, backwards=backwards)
    np.testing.assert_array_equal(got, expected, strict=True)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_pattern_of_a_half_type_is_read_as_numpy_reads_it(dtype: LogitType) -> None:
    bits = np.arange(1 << 16, dtype=np.uint16).reshape(4, -1)
    exact = (
        bits.view(np.float16).astype(np.float32)
        if dtype == "float16"
        else (bits.astype(np.uint32) << 16).view("f4")
    )
    places = np.arange(bits.shape[1])
    for scale in (8.0, 2.0**24, 2.0**-9):  # the second shows all that are below normal ones
        with np.errstate(over="ignore", invalid="ignore"):
            expected = quantize_moves_reference(exact, places, scale=scale)
        np.testing.assert_array_equal(by_kernel(bits, places, dtype, scale=scale), expected)


def test_reference_by_hand() -> None:
    logits = np.array([[0.5, 9.0, -0.1875, 0.0625, np.nan, -99.0, 15.9]], dtype=np.float32)
    quantized = quantize_moves_reference(logits, np.array([6, 5, 4, 3, 2, 0]), scale=8)
    assert quantized.tolist() == [[127, -127, 0, 0, -2, 4]]


@pytest.mark.parametrize(("distance", "rounds"), [(3, 1), ((3, 4), 2), (5, 4), (7, 5), (31, 1)])
def test_real_layouts(problem, element_bits, distance, rounds) -> None:
    """The places of a network's blocked output: no move is missed, none comes twice."""
    p = problem(distance, rounds)
    places = blocked_places(p.layout, p.moves)
    volume = 3 * int(np.prod(p.layout.shape))
    bits, exact = element_bits(np.random.default_rng(3).normal(-3, 4, (3, volume)), "bfloat16")
    expected = quantize_moves_reference(exact, places, scale=8)
    np.testing.assert_array_equal(by_kernel(bits, places, "bfloat16", scale=8.0), expected, strict=True)


def test_nothing_to_do_is_refused() -> None:
    for numbers in ({"shots": 0, "moves": 1, "scale": 8.0}, {"shots": 1, "moves": 1, "scale": 0.0}):
        with pytest.raises(ValueError, match="a launch needs a shot, a move and a positive scale"):
            quantize_moves_arguments(logits=0, places=0, out=0, volume=1, **numbers)
