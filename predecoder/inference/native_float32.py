"""Binding of `network.cpp`: a separable network on bit-packed shots of one layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from predecoder.inference.precision import Precision
from predecoder.inference.table_layout import DETECTORS, cells, fields, start
from predecoder.inference.native_volumes import NativeVolumes, described
from qec import DetectorLayout, MoveSet

if TYPE_CHECKING:
    from predecoder.network import Network, NetworkConfig

__all__ = ["NativeNetwork", "float_tables"]

_TILE, _LANES = 4, 8
_Description = described("embed", "start", "depth", "fields", "mix", "mix_bias", "head", "head_bias")


class NativeNetwork(NativeVolumes):
    """Logits of a separable network that agree with torch's up to rounding, several times faster."""

    lanes = _LANES
    precision: Precision = "float32"

    def __init__(self, layout: DetectorLayout, network: Network, moves: MoveSet) -> None:
        """Copies the weights.

        Raises:
            NativeUnavailableError: see `load_library`.
            ValueError: the network is not of the kind that `runs` tells.
        """
        config = network.config
        if not self.runs(config):
            raise ValueError(f"the native engine runs separable networks with time_fold=1, not {config}")
        present = cells(layout.detector_grid) >= 0
        added, kind = fields(network, present)
        tables = float_tables(network)
        tables |= {name: _tiled(tables[name]) for name in ("mix", "head")}
        tables |= {"start": start(network, layout, moves), "fields": added, "kind": kind}
        super().__init__(
            *("network", _Description, tables, layout, moves),
            channels=config.channels,
            reach=config.halo[0],
        )

    @staticmethod
    def runs(config: NetworkConfig) -> bool:
        """Whether the engine can run such a network."""
        return config.separable and config.time_fold == 1 and config.channels % _LANES == 0


def float_tables(network: Network) -> dict[str, np.ndarray]:
    """A separable network's weights.

    Returns:
        float32 arrays: embed `(4, 27, C)`, of detections only; depth `(blocks, C, 27)`; mix `(blocks, o, C)`
        and mix_bias `(blocks, o)`; head `(12, C)` and head_bias `(12,)`.
    """
    state = {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}
    channels, blocks = network.config.channels, range(network.config.residual_blocks)
    return {
        "embed": state["embed.weight"].reshape(channels, -1, 27)[:, :DETECTORS].transpose(1, 2, 0),
        "depth": np.stack([state[f"trunk.{b}.spatial.weight"].reshape(channels, 27) for b in blocks]),
        "mix": np.stack([state[f"trunk.{b}.mix.weight"].reshape(channels, channels) for b in blocks]),
        "mix_bias": np.stack([state[f"trunk.{b}.mix.bias"] for b in blocks]),
        "head": state["head.weight"].reshape(-1, channels),
        "head_bias": state["head.bias"],
    }


def _tiled(weight: np.ndarray) -> np.ndarray:
    """Weights of a pointwise convolution `(..., o, C)` as `(..., o / 4, C, 4)`: four outputs at a time."""
    *many, outputs, inputs = weight.shape
    return weight.reshape(*many, outputs // _TILE, _TILE, inputs).swapaxes(-2, -1)
