"""Networks that give every elementary move a logit: three families and their configurations.

`make_network` builds the network of a configuration: `DenseConfig` (the most accurate), `SeparableConfig` (a
tenth of the operations) or `QuantizedSeparableConfig` (the same, also in int8 once it is calibrated by
`calibrate`). A dense network runs in int8, too, once it has `ActivationRanges`. `network_config` reads any of
them from a table, as in TOML. Dense ones train faster in `bfloat16_blocks` where the processor multiplies
such numbers. A network may have two last convolutions: its own logits are those to match, `removal_network`
gives the other ones.

Their inputs and outputs are blocked tensors (`predecoder.blocking`); shots go to logits by an engine
(`predecoder.inference`). This package imports torch.
"""

from predecoder.network.base import Network, removal_network
from predecoder.network.config import (
    DenseConfig,
    Int8Support,
    NetworkConfig,
    QuantizedSeparableConfig,
    SeparableConfig,
    network_config,
)
from predecoder.network.dense import DenseNetwork, bfloat16_blocks
from predecoder.network.families import make_network
from predecoder.network.fused_dense import FusedDense
from predecoder.network.measured_ranges import activation_ranges
from predecoder.network.quantized import QuantizedSeparableNetwork, calibrate
from predecoder.network.ranges import ActivationRanges
from predecoder.network.separable import SeparableNetwork

__all__ = [
    "ActivationRanges",
    "DenseConfig",
    "DenseNetwork",
    "FusedDense",
    "Int8Support",
    "Network",
    "NetworkConfig",
    "QuantizedSeparableConfig",
    "QuantizedSeparableNetwork",
    "SeparableConfig",
    "SeparableNetwork",
    "activation_ranges",
    "bfloat16_blocks",
    "calibrate",
    "make_network",
    "network_config",
    "removal_network",
]
