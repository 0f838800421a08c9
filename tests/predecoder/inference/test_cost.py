"""Sizes and operations that the cost model counts are those of real problems and networks."""

import pytest
import torch

from cuda.qecpipe.cost import ELEMENT_BYTES, card_called, estimate
from predecoder.inference import Volume, network_stages, pipeline_stages, training_stages
from predecoder.inference.cost import host_seconds
from predecoder.network import DenseConfig, SeparableConfig, make_network


@pytest.mark.parametrize(("distance", "rounds"), [(3, 3), (5, 5), (5, 2), (7, 10)])
def test_a_volume_without_an_experiment_is_that_of_one(model, distance, rounds):
    assert Volume.of_memory(distance, rounds) == Volume.of_problem(model(distance, rounds).problem)


@pytest.mark.parametrize(
    "config",
    [
        DenseConfig(channels=48, residual_blocks=6, time_fold=1),
        DenseConfig(channels=16, residual_blocks=2, time_fold=2),
        SeparableConfig(channels=32, residual_blocks=5),
    ],
)
@pytest.mark.parametrize("fused", [False, True])
def test_operations_of_a_network_are_its_configurations(config, fused):
    """In float32, where nothing is filled up; as many as torch counts for convolutions."""
    stages = network_stages(config, 1000, precision="float32", fused=fused)
    counted = sum(stage.operations for stage in stages)
    assert counted == 2 * 1000 * config.macs_per_block
    assert len(stages) == config.residual_blocks + 2


def test_bytes_of_weights_and_activations_are_those_of_the_network():
    """One block: what convolutions read and write of it, and all their weights once."""
    config = DenseConfig(channels=24, residual_blocks=3, time_fold=2)
    network = make_network(config)
    weights = sum(p.numel() for p in network.parameters() if p.ndim > 1)
    shapes = []
    for module in network.modules():
        if isinstance(module, torch.nn.Conv3d):
            shapes.append((module.in_channels, module.out_channels))
    stages = network_stages(config, 1, precision="bfloat16", fused=True)
    sums = config.residual_blocks * config.channels
    assert sum(stage.bytes for stage in stages) == 2 * (weights + sum(a + b for a, b in shapes) + sums)


def test_stages_of_a_batch_grow_with_it_and_with_the_distance():
    config, card = DenseConfig(channels=48, residual_blocks=6, time_fold=1), card_called("H100")

    def found(distance, shots, **options):
        volume = Volume.of_memory(distance, distance)
        stages = pipeline_stages(config, volume, p=0.006, shots=shots, precision="bfloat16", **options)
        return estimate(stages, card, shots=shots, cores=16)

    names = [one.stage.name for one in found(5, 1).stages]
    assert names[:3] == ["upload", "unpack", "first layer"]
    assert names[-3:] == ["quantize", "download", "matching"]
    assert found(5, 1, decoder="predecoder+pymatching").stages[-3].stage.name == "threshold, residual"
    assert found(5, 1).alone < found(13, 1).alone < found(13, 1024).alone
    assert found(13, 1024).sustained / 1024 < found(13, 1).sustained
    assert found(13, 64, fused=True).alone < found(13, 64).alone
    with pytest.raises(ValueError, match="decoder='tesseract' has no cost model"):
        found(5, 1, decoder="tesseract")


def test_the_hosts_time_is_the_measured_one_and_a_power_law_between():
    volume = Volume.of_memory(13, 13)
    assert host_seconds("neural-matching", volume, p=0.006) == pytest.approx(25e-6)
    half = Volume.of_memory(13, 26)
    assert host_seconds("neural-matching", half, p=0.006) == pytest.approx(50e-6)
    between = host_seconds("neural-matching", Volume.of_memory(17, 17), p=0.004)
    assert 16e-6 < between < 225e-6


def test_training_does_three_times_the_operations_of_a_forward_pass():
    config = DenseConfig(channels=48, residual_blocks=6, time_fold=1)
    assert ELEMENT_BYTES["bfloat16"] == 2
    forward = sum(s.operations for s in network_stages(config, 10, precision="bfloat16", fused=False))
    both = sum(s.operations for s in training_stages(config, 10, precision="bfloat16"))
    assert both == pytest.approx(3 * forward)
