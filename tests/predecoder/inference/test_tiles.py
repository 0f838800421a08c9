"""Tiles against the whole volume."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from predecoder.inference import halo_blocks, infer_tiled, tiles
from predecoder.network import DenseConfig, Network, NetworkConfig, SeparableConfig, make_network
from qec import NOISE_FEATURES


def _network(config: NetworkConfig) -> Network:
    """Weights without zeros, so that every voxel of the receptive field matters."""
    generator = torch.Generator().manual_seed(7)
    network = make_network(config).eval()
    for parameter in network.parameters():
        with torch.no_grad():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return network


def _noise_features(*shape: int) -> torch.Tensor:
    return torch.randn(1, 8 * NOISE_FEATURES, *shape, generator=torch.Generator().manual_seed(8))


def _syndromes(batch: int, *shape: int) -> torch.Tensor:
    bits = np.random.default_rng(5).random((batch, *shape, 16)) < 0.1
    return torch.from_numpy(bits.astype(np.float32)).permute(0, 4, 1, 2, 3)


@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    size=st.tuples(*[st.integers(1, 5)] * 3),
    halo=st.tuples(*[st.integers(0, 4)] * 3),
)
def test_every_block_is_in_one_core_and_its_halo_in_the_source(shape, size, halo):
    covered = np.zeros(shape, dtype=int)
    where = np.indices(shape)
    for tile in tiles(shape, size, halo):
        covered[tile.core] += 1
        assert np.array_equal(where[(slice(None), *tile.source)][(slice(None), *tile.crop)],
                              where[(slice(None), *tile.core)])  # fmt: skip
        for core, source, n, h in zip(tile.core, tile.source, shape, halo, strict=True):
            assert source.start == max(0, core.start - h)
            assert source.stop == min(n, core.stop + h)
    assert (covered == 1).all()


@pytest.mark.parametrize(
    "config",
    [
        DenseConfig(8, 2, time_fold=1),
        DenseConfig(16, 1, time_fold=2),
        DenseConfig(8, 1, time_fold=1),
        DenseConfig(8, 1, time_fold=1, noise_conditioned=True),
        DenseConfig(8, 1, time_fold=2, noise_conditioned=True),
        SeparableConfig(8, 2),
        SeparableConfig(16, 1, patch_embedding=4, noise_conditioned=True),
    ],
)
@settings(max_examples=8, deadline=None)
@given(size=st.tuples(*[st.integers(1, 6)] * 3), batch=st.integers(1, 3), replicas=st.integers(1, 3))
def test_tiled_inference_equals_the_whole_volume_bit_for_bit(config, size, batch, replicas):
    network, x = _network(config), _syndromes(batch, 9, 5, 6)
    x[:, 8:] = x[:1, 8:]  # one patch
    with torch.inference_mode():
        bias = network.noise_bias(_noise_features(9, 5, 6)) if config.noise_conditioned else None
        tiled = infer_tiled([network] * replicas, x, bias, size=size)
        assert torch.equal(tiled, network.logits(x, bias))


def test_a_shot_alone_equals_the_shot_in_a_batch_bit_for_bit():
    network, x = _network(DenseConfig(8, 2, time_fold=1)), _syndromes(5, 6, 4, 4)
    with torch.inference_mode():
        whole = network(x)
        for k in range(5):
            assert torch.equal(network(x[k : k + 1]), whole[k : k + 1])


@pytest.mark.parametrize("config", [DenseConfig(8, 2, time_fold=1), DenseConfig(16, 1, time_fold=2)])
def test_the_halo_is_the_receptive_field(config):
    """A flip in the farthest block of the halo is seen; one block further is not."""
    network = _network(config)
    x = _syndromes(1, 21, 17, 17)
    reach = halo_blocks(network)
    with torch.inference_mode():
        before = network(x)
        for axis, centre in enumerate((10, 8, 8)):
            for distance, seen in ((reach[axis], True), (reach[axis] + 1, False)):
                flipped = x.clone()
                block = [10, 8, 8]
                block[axis] = centre - distance
                flipped[0, :, *block] = 1 - flipped[0, :, *block]
                after = network(flipped)
                assert torch.equal(after[0, :, 10, 8, 8], before[0, :, 10, 8, 8]) != seen


def test_a_tile_without_blocks_is_refused():
    with pytest.raises(ValueError, match=r"\(1, 0, 1\) has a side below 1"):
        list(tiles((3, 3, 3), (1, 0, 1), (0, 0, 0)))
