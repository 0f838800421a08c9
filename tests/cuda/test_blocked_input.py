"""The blocked input: the reference against its definition, the kernel against the reference."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cuda.qecpipe import blocked_input_reference, launch_on_cpu
from cuda.qecpipe.blocked_input import ElementType, check_source, kernel_entry
from predecoder.blocking import NetworkInput
from qec import BASES

DTYPES = get_args(ElementType)
relaxed = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    """(packed, source, n_detectors): zero to five shots, non-cubic grids, absent voxels, set padding bits."""
    n_detectors = draw(st.integers(1, 70))
    shape = (8, *(draw(st.integers(1, 4)) for _ in range(3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    source = rng.integers(0, n_detectors, size=shape, dtype=np.int32)
    source[rng.random(shape) < draw(st.sampled_from([0.0, 0.3, 1.0]))] = -1
    shots = draw(st.integers(0, 5))
    packed = rng.integers(0, 256, size=(shots, (n_detectors + 7) // 8), dtype=np.uint8)
    return packed, source, n_detectors


def by_kernel(packed, source, *, n_detectors, dtype, grid, block, backwards=False) -> np.ndarray:
    """The kernel's elements as unsigned integers of their width, (S, T, I, J, 16)."""
    packed, source = np.ascontiguousarray(packed), np.ascontiguousarray(source)
    words = {"float32": np.uint32, "float16": np.uint16, "bfloat16": np.uint16, "uint8": np.uint8}
    out = np.empty((len(packed), *source.shape[1:], 16), dtype=words[dtype])
    addresses = (array.ctypes.data for array in (packed, source, out))
    sizes = map(np.int64, (*packed.shape, source[0].size, n_detectors))
    launch_on_cpu(
        kernel_entry(dtype), grid=grid, block=block, arguments=(*addresses, *sizes), backwards=backwards
    )
    return out


@relaxed
@given(case=cases())
def test_reference_is_the_definition_voxel_by_voxel(case: tuple[np.ndarray, np.ndarray, int]) -> None:
    packed, source, n_detectors = case
    out = blocked_input_reference(packed, source, n_detectors=n_detectors, dtype="float32")
    _, n_t, n_i, n_j = source.shape
    assert out.shape == (len(packed), n_t, n_i, n_j, 16)
    for shot, t, i, j, dt, di, dj in np.ndindex(len(packed), n_t, n_i, n_j, 2, 2, 2):
        channel = 4 * dt + 2 * di + dj
        detector = int(source[channel, t, i, j])
        bit = detector >= 0 and (int(packed[shot, detector // 8]) >> (detector % 8)) & 1
        assert out[shot, t, i, j, channel] == float(bit)
        assert out[shot, t, i, j, 8 + channel] == float(detector >= 0)


@relaxed
@given(
    case=cases(),
    dtype=st.sampled_from(DTYPES),
    grid=st.integers(1, 9),
    block=st.integers(1, 40),
    backwards=st.booleans(),
)
def test_kernel_on_cpu_is_bit_identical_for_any_launch_shape(
    case: tuple[np.ndarray, np.ndarray, int], dtype: ElementType, grid: int, block: int, backwards: bool
) -> None:
    packed, source, n_detectors = case
    expected = blocked_input_reference(packed, source, n_detectors=n_detectors, dtype=dtype)
    out = by_kernel(
        packed, source, n_detectors=n_detectors, dtype=dtype, grid=grid, block=block, backwards=backwards
    )
    np.testing.assert_array_equal(out, expected.view(out.dtype), strict=True)


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize(("distance", "rounds"), [(3, 1), (4, 2), ((3, 4), 3), (5, 4), (7, 5), (31, 1)])
def test_layouts_of_patches_as_the_network_takes_them(problem, distance, rounds, basis) -> None:
    layout = problem(distance, rounds, basis if distance != 31 else "x").layout
    network_input = NetworkInput(layout)
    source = np.moveaxis(network_input.source, -1, 0).astype(np.int32)
    packed = np.random.default_rng(7).integers(0, 256, (9, -(-layout.num_detectors // 8)), dtype=np.uint8)
    out = by_kernel(packed, source, n_detectors=layout.num_detectors, dtype="float32", grid=5, block=256)
    np.testing.assert_array_equal(out.view(np.float32), network_input(packed), strict=True)


def test_kernel_writes_only_its_voxels() -> None:
    """Guard bytes around the output survive a grid much larger than the work."""
    shots, voxels, n_detectors = 3, 5, 11
    packed = np.full((shots, 2), 255, dtype=np.uint8)
    source = np.zeros((8, voxels), dtype=np.int32)
    guarded = np.full((shots + 2, voxels, 16), 0xAB, dtype=np.uint8)
    addresses = (packed.ctypes.data, source.ctypes.data, guarded[1].ctypes.data)
    sizes = map(np.int64, (shots, 2, voxels, n_detectors))
    launch_on_cpu(kernel_entry("uint8"), grid=4, block=64, arguments=(*addresses, *sizes))
    assert (guarded[1:-1] == 1).all()
    assert (guarded[[0, -1]] == 0xAB).all()


def bad_source(value: int) -> np.ndarray:
    source = np.full((8, 2, 3, 4), -1, dtype=np.int32)
    source[5, 1, 2, 3] = value
    return source


@pytest.mark.parametrize(
    ("source", "n_detectors", "message"),
    [
        (bad_source(24), 24, r"source\[5, 1, 2, 3\] = 24 is neither -1 nor a detector 0\.\.23"),
        (bad_source(-2), 24, r"source\[5, 1, 2, 3\] = -2 is neither"),
        (bad_source(0).astype(np.int64), 24, "must be int32, not int64"),
        (bad_source(0)[:7], 24, r"not \(7, 2, 3, 4\)"),
        (bad_source(0)[:, :0], 24, r"not \(8, 0, 3, 4\)"),
        (bad_source(0)[0], 24, r"not \(2, 3, 4\)"),
        (bad_source(0), 0, "at least 1, not 0"),
    ],
)
def test_bad_layouts_are_named(source: np.ndarray, n_detectors: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_source(source, n_detectors)
