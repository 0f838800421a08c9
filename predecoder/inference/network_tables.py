"""A separable network's numbers as tables: its weights, and what it adds for a patch and its noise.

Shape legend: T layers, (I, J) cells of 2 x 2 ancillas, C channels, o channels out. Tables of biases have an
entry for every kind of layer (`LayerKinds`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from predecoder.inference.layer_kinds import LayerInputs, LayerKinds
from predecoder.inference.precision import Precision
from predecoder.inference.table_layout import DETECTORS

if TYPE_CHECKING:
    import torch

    from predecoder.network import Network, SeparableNetwork

__all__ = [
    "FloatTables",
    "first_layer_bias",
    "first_layer_inputs",
    "float_weights",
    "position_bias",
    "timelines",
]


class FloatTables:
    """A separable network in float32 on the layers of some experiments.

    Attributes:
        arrays: the tables by name, as `FloatTables` of `native/network/tables.h` has them.
        timelines: of every experiment, int32 `(T, 2)`: the kinds of each layer's biases.
    """

    precision: Precision = "float32"

    def __init__(self, network: SeparableNetwork, experiments: Sequence[LayerInputs]) -> None:
        """Copy the weights."""
        first, first_kinds = first_layer_bias(network, experiments)
        position, position_kinds = position_bias(network, experiments)
        self.arrays = float_weights(network) | {"first_layer_bias": first, "position_bias": position}
        self.timelines = timelines(first_kinds, position_kinds)


def timelines(first_layer: LayerKinds, position: LayerKinds) -> list[np.ndarray]:
    """Join the kinds of two tables of biases: int32 `(T, 2)` of every experiment."""
    return [np.stack(pair, axis=1) for pair in zip(first_layer.of, position.of, strict=True)]


def float_weights(network: SeparableNetwork) -> dict[str, np.ndarray]:
    """Return a network's weights.

    Returns:
        float32 arrays: embed `(4, 27, C)`, of detections only; depthwise `(blocks, C, 27)`; pointwise
        `(blocks, o, C)` and pointwise_bias `(blocks, o)`; head `(12, C)` and head_bias `(12,)`.
    """
    state = {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}
    channels, trunk = network.config.channels, [f"trunk.{b}" for b in range(network.config.residual_blocks)]
    return {
        "embed": state["embed.weight"].reshape(channels, -1, 27)[:, :DETECTORS].transpose(1, 2, 0),
        "depthwise": np.stack([state[f"{b}.depthwise.weight"].reshape(channels, 27) for b in trunk]),
        "pointwise": np.stack([state[f"{b}.pointwise.weight"].reshape(channels, channels) for b in trunk]),
        "pointwise_bias": np.stack([state[f"{b}.pointwise.bias"] for b in trunk]),
        "head": state["head.weight"].reshape(-1, channels),
        "head_bias": state["head.bias"],
    }


def first_layer_inputs(
    network: Network, experiments: Sequence[LayerInputs]
) -> tuple[Sequence[tuple[torch.nn.Conv3d, int, np.ndarray]], LayerKinds]:
    """Return what the first layer sums up beside its convolution of the detections, and the layers' kinds.

    Returns:
        Convolutions, with the first of their input channels that counts and the inputs themselves, a layer of
        every kind with those around it: `(kinds, n, 3, I, J)`.
    """
    presence = [experiment.present for experiment in experiments]
    if network.noise_embedding is None:
        kinds = LayerKinds.sort(presence, reach=1)
        return [(network.embed, DETECTORS, kinds.around(presence))], kinds
    features = [_given(experiment) for experiment in experiments]
    both = [np.concatenate(pair, axis=1, dtype=np.float32) for pair in zip(presence, features, strict=True)]
    kinds = LayerKinds.sort(both, reach=1)
    parts = [
        (network.embed, DETECTORS, kinds.around(presence)),
        (network.noise_embedding, 0, kinds.around(features)),
    ]
    return parts, kinds


def first_layer_bias(
    network: SeparableNetwork, experiments: Sequence[LayerInputs]
) -> tuple[np.ndarray, LayerKinds]:
    """Compute what the first layer adds to its convolution of the detections.

    It is the sum of biases, of where detectors are, and of the noise features where the network has them.

    Returns:
        float32 `(kinds, I, J, C)`, and the kinds.
    """
    import torch

    parts, kinds = first_layer_inputs(network, experiments)
    total = torch.zeros(())
    with torch.inference_mode():
        for convolution, first, planes in parts:
            weight = convolution.weight.detach().cpu()[:, first:].contiguous()
            bias = convolution.bias.detach().cpu()  # pyright: ignore[reportOptionalMemberAccess]
            x = torch.from_numpy(planes.astype(np.float32))
            total = total + torch.nn.functional.conv3d(x, weight, bias, padding=(0, 1, 1))
    return total[:, :, 0].numpy().transpose(0, 2, 3, 1), kinds


def position_bias(
    network: SeparableNetwork, experiments: Sequence[LayerInputs]
) -> tuple[np.ndarray, LayerKinds]:
    """Compute what every block adds to its depthwise convolution: biases, and the patch embedding's.

    Returns:
        float32 `(blocks, kinds, I, J, C)`, and the kinds.
    """
    import torch

    presence = [experiment.present for experiment in experiments]
    biases = torch.stack([block.depthwise.bias for block in network.trunk])  # pyright: ignore
    biases = biases.detach().cpu()[:, :, None, None]
    if network.patch_embedding is None:
        everywhere = biases.expand(-1, -1, *presence[0].shape[2:]).numpy()
        kinds = LayerKinds([(0, 0)], [np.zeros(len(layers), np.int32) for layers in presence], 0)
        return everywhere.transpose(0, 2, 3, 1)[:, None], kinds
    kinds = LayerKinds.sort(presence, reach=network.patch_embedding.REACH)
    tables = []
    with torch.inference_mode():
        for number, t in kinds.first:
            low = max(0, t - kinds.reach)
            around = presence[number][low : t + kinds.reach + 1].transpose(1, 0, 2, 3)[None]
            x = torch.from_numpy(around.astype(np.float32)).to(network.embed.weight.device)
            added = torch.cat(network.position_biases(x))[:, :, t - low]  # pyright: ignore
            tables.append((biases + added.cpu()).numpy())
    return np.stack(tables, axis=1).transpose(0, 1, 3, 4, 2), kinds


def _given(experiment: LayerInputs) -> np.ndarray:
    if experiment.features is None:
        raise ValueError("a noise-conditioned network needs the noise features of every layer")
    return experiment.features
