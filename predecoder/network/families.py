"""The network of a configuration."""

from __future__ import annotations

from predecoder.network.base import Network
from predecoder.network.config import (
    DenseConfig,
    NetworkConfig,
    QuantizedSeparableConfig,
    SeparableConfig,
)
from predecoder.network.dense import DenseNetwork
from predecoder.network.quantized import QuantizedSeparableNetwork
from predecoder.network.separable import SeparableNetwork

__all__ = ["make_network"]

_NETWORKS: dict[type, type[Network]] = {
    DenseConfig: DenseNetwork,
    SeparableConfig: SeparableNetwork,
    QuantizedSeparableConfig: QuantizedSeparableNetwork,
}


def make_network(config: NetworkConfig) -> Network:
    """Build the network of a configuration, with random weights that propose no move (seed torch before)."""
    return _NETWORKS[type(config)](config)
