"""Labels that the trainer makes itself, of a trained network on its own device, in place of the workers.

A dense network takes a CPU thirty times as long for a shot as all else that a worker does with it.
"""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext

import torch

from predecoder.network import DenseNetwork, bfloat16_blocks, removal_network
from predecoder.training.unpacking import Batch
from predecoder.weights import load_network

__all__ = ["DeviceLabels"]


class DeviceLabels:
    """The probabilities that a trained network gives to the moves of the trainer's own batches."""

    def __init__(self, weights: str, *, device: torch.device, precision: str) -> None:
        """Load the network.

        Args:
            weights: a shipped name or a path.
            precision: 'float32', or 'bfloat16' for the residual blocks of a dense network.
        """
        self._network = removal_network(load_network(weights)).to(device)
        dense = isinstance(self._network, DenseNetwork)
        self._bfloat16 = precision == "bfloat16" and dense

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Batch:
        """The batch with its labels, rounded to float16 as those of workers are."""
        network = self._network
        features = batch.noise_features if network.config.noise_conditioned else None
        with bfloat16_blocks(network) if self._bfloat16 else nullcontext():
            logits = network(batch.inputs, features)
        labels = torch.sigmoid(logits.float()).half().float() * batch.mask
        return dataclasses.replace(batch, labels=labels)
