"""Ranges of a dense network's activations, from shots of some experiments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from predecoder.blocking import NetworkInput, blocked_noise_features
from predecoder.inference.torch_engine import fitting_shots
from qec import DecodingProblem

if TYPE_CHECKING:
    import torch

    from predecoder.network import ActivationRanges, Network

__all__ = ["measure_ranges"]


def measure_ranges(
    network: Network, experiments: Iterable[tuple[DecodingProblem, np.ndarray]]
) -> ActivationRanges:
    """Measure what the activations span on shots, bit-packed uint8 `(B, ceil(n / 8))`, of some problems.

    Raises:
        ValueError: the int8 engine could not run the network with any ranges.
    """
    from predecoder.network import DenseNetwork, activation_ranges

    if not isinstance(network, DenseNetwork) or network.config.time_fold != 1:
        raise ValueError(
            "only dense networks with time_fold 1 are calibrated after their training, not "
            f"{network.config}; 'quantized-separable' ones are in the end of it"
        )
    return activation_ranges(network, _batches(network, experiments))


def _batches(
    network: Network, experiments: Iterable[tuple[DecodingProblem, np.ndarray]]
) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
    import torch

    for problem, packed in experiments:
        blocked, features = NetworkInput(problem.layout), None
        if network.config.noise_conditioned:
            features = torch.from_numpy(blocked_noise_features(problem)).permute(0, 4, 1, 2, 3)
        step = fitting_shots(problem.layout)
        for start in range(0, len(packed), step):
            inputs = torch.from_numpy(blocked(packed[start : start + step])).permute(0, 4, 1, 2, 3)
            yield inputs, features
