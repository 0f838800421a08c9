"""Blocking is a permutation, and detections land where the layout says."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from predecoder.blocking import NetworkInput, block, unblock


@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(1, 3)] * 5))
def test_unblock_inverts_block(seed, size):
    b, k, t, i, j = size
    grid = np.random.default_rng(seed).integers(0, 255, (b, k, 2 * t, 2 * i, 2 * j), dtype=np.uint8)
    blocked = block(grid)
    assert blocked.shape == (b, t, i, j, 8 * k)
    assert np.array_equal(unblock(blocked), grid)
    assert np.array_equal(block(unblock(blocked)), blocked)


def test_block_channels_are_offsets():
    """Channel 8 k + 4 dt + 2 di + dj of block (t, i, j) is voxel (2t + dt, 2i + di, 2j + dj) of kind k."""
    grid = np.arange(2 * 4 * 4 * 6).reshape(1, 2, 4, 4, 6)
    blocked = block(grid)
    for t, i, j, k, dt, di, dj in np.ndindex(2, 2, 3, 2, 2, 2, 2):
        expected = grid[0, k, 2 * t + dt, 2 * i + di, 2 * j + dj]
        assert blocked[0, t, i, j, 8 * k + 4 * dt + 2 * di + dj] == expected


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 3, 4]), st.sampled_from(["x", "z"]))
def test_network_input_is_the_blocked_detection_grid(model, seed, rounds, basis):
    layout = model(3, rounds, basis).layout
    bits = np.random.default_rng(seed).integers(0, 2, (3, layout.num_detectors), dtype=np.uint8)
    grid = np.zeros((3, 2, *layout.shape), dtype=np.float32)
    for d, voxel in enumerate(layout.voxels):
        grid[:, 0, *voxel] = bits[:, d]
        grid[:, 1, *voxel] = 1
    packed = np.packbits(bits, axis=1, bitorder="little")
    assert np.array_equal(NetworkInput(layout)(packed), block(grid))
