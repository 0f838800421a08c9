"""A separable network's numbers as tables: its weights, and what it adds for a patch and its noise.

Shape legend: T layers, (I, J) cells of 2 x 2 ancillas, C channels, o channels out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from predecoder.inference.table_layout import DETECTORS, cells
from qec import DecodingProblem

if TYPE_CHECKING:
    import torch

    from predecoder.network import SeparableNetwork

__all__ = ["first_layer_bias", "float_tables", "position_bias"]


def float_tables(network: SeparableNetwork) -> dict[str, np.ndarray]:
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


def first_layer_bias(network: SeparableNetwork, problem: DecodingProblem) -> np.ndarray:
    """Compute what the first layer adds to its convolution of the detections.

    It is the sum of biases, of where detectors are, and of the noise features where the network has them.

    Returns:
        float32 `(T, I, J, C)`.
    """
    import torch

    # Each convolution with its inputs; the first one's come after those of the detections.
    parts = [(network.embed, DETECTORS, cells(problem.layout.detector_grid) >= 0)]
    if network.noise_embedding is not None:
        features = np.concatenate([cells(grid) for grid in problem.noise_features], axis=1)
        parts.append((network.noise_embedding, 0, features))
    total = torch.zeros(())
    with torch.inference_mode():
        for convolution, first, planes in parts:
            weight = convolution.weight.detach().cpu()[:, first:].contiguous()
            bias = convolution.bias.detach().cpu()  # pyright: ignore[reportOptionalMemberAccess]
            total = total + torch.nn.functional.conv3d(_as_input(planes), weight, bias, padding=1)
    return total[0].numpy().transpose(1, 2, 3, 0)


def position_bias(network: SeparableNetwork, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute what every block adds to its depthwise convolution: biases, and the patch embedding's.

    Args:
        network: on any device.
        present: bool `(T, 4, I, J)`: where detectors are.

    Returns:
        float32 `(blocks, kinds, I, C, J)`, and the kind of every layer, int32 `(T,)`: most are alike.
    """
    import torch

    biases = torch.stack([block.depthwise.bias for block in network.trunk])  # pyright: ignore
    biases = biases.detach().cpu()[:, :, None, None]
    rows, columns = present.shape[2:]
    if network.patch_embedding is None:
        everywhere = biases.expand(-1, -1, rows, columns).swapaxes(1, 2).numpy()
        return everywhere[:, None], np.zeros(len(present), dtype=np.int32)
    reach = network.patch_embedding.REACH
    first, kind = kinds_of_layers(present, reach=reach)
    tables = []
    with torch.inference_mode():
        for t in first:
            low = max(0, t - reach)
            around = _as_input(present[low : t + reach + 1]).to(network.embed.weight.device)
            added = torch.cat(network.position_biases(around))[:, :, t - low]  # pyright: ignore
            tables.append((biases + added.cpu()).swapaxes(1, 2).numpy())
    return np.stack(tables, axis=1), kind


def kinds_of_layers(present: np.ndarray, *, reach: int) -> tuple[list[int], np.ndarray]:
    """Sort layers into kinds that have the same detectors up to `reach` layers around.

    Returns:
        The first layer of every kind, and the kind of every layer, int32 `(T,)`.
    """
    outside: list[bytes | None] = [None] * reach
    layers = [*outside, *(layer.tobytes() for layer in present), *outside]
    first: dict[tuple[bytes | None, ...], int] = {}
    kind = np.empty(len(present), dtype=np.int32)
    starts = []
    for t in range(len(present)):
        kind[t] = first.setdefault(tuple(layers[t : t + 2 * reach + 1]), len(first))
        if kind[t] == len(starts):
            starts.append(t)
    return starts, kind


def _as_input(planes: np.ndarray) -> torch.Tensor:
    """Channels of cells `(T, n, I, J)` as a convolution takes them: `(1, n, T, I, J)`."""
    import torch

    return torch.from_numpy(planes.transpose(1, 0, 2, 3).astype(np.float32))[None]
