"""Configurations of the three network families: a union, told apart by `family`, as in TOML and weights.

A block is 2 layers by 2 x 2 ancillas; a cell is what of it the trunk computes on: the whole block, or one of
its layers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from predecoder.blocking import INPUT_CHANNELS, MOVE_CHANNELS

__all__ = [
    "DenseConfig",
    "Int8Support",
    "NetworkConfig",
    "QuantizedSeparableConfig",
    "SeparableConfig",
    "network_config",
]

Int8Support = Literal["none", "available", "default"]
"""Whether int8 engines can run a network; 'default' where they do unless something else is asked for."""

_LARGEST = 1024
_TAPS = 27
_PATCH_EMBEDDING_REACH = 2


@dataclass(frozen=True)
class _Trunk:
    """What all families have.

    Attributes:
        channels: width of the trunk.
        residual_blocks: number of residual blocks between the first and the last convolution.
        noise_conditioned: whether the network is given `qec.DecodingProblem.noise_features`. Engines compute
            what they add once for a DEM, so that they cost nothing for a shot.
        removal_head: whether there is a second last convolution, whose logits say which moves to commit,
            beside the one whose logits are matched; see `removal_network`. A decoder runs one of the two.
    """

    channels: int = 64
    residual_blocks: int = 4
    noise_conditioned: bool = False
    removal_head: bool = field(default=False, kw_only=True)

    quantized: ClassVar[bool] = False
    """Whether weights hold ranges of activations, for int8."""

    def __post_init__(self) -> None:
        for name in ("noise_conditioned", "removal_head"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"network {name}={getattr(self, name)!r} is not true or false")
        for name in ("channels", "residual_blocks"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST:
                raise ValueError(f"network {name}={value!r} is not a whole number from 1 to {_LARGEST}")

    @property
    def macs_per_block(self) -> int:
        """Multiply-accumulates for one block of every shot."""
        raise NotImplementedError


@dataclass(frozen=True)
class DenseConfig(_Trunk):
    """Residual blocks of a full 3 x 3 x 3 convolution and a pointwise one; GELU.

    Attributes:
        time_fold: layers that share one cell of the trunk, 1 or 2. With 1, the weights are the same in every
            layer and a convolution reaches half as far in time, for twice the operations.
        family: 'dense'.
    """

    time_fold: int = 2
    family: Literal["dense"] = "dense"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_family(self.family, "dense")
        if self.time_fold not in (1, 2):
            raise ValueError(f"network time_fold={self.time_fold!r} is not 1 or 2")

    @property
    def halo(self) -> tuple[int, int, int]:
        """Layers, rows and columns on either side that one output depends on, in whole cells."""
        convolutions = self.residual_blocks + 2
        return self.time_fold * convolutions, 2 * convolutions, 2 * convolutions

    @property
    def macs_per_block(self) -> int:
        """Multiply-accumulates for one block of every shot."""
        c, cells = self.channels, 2 // self.time_fold
        # A cell has 1 / cells of the channels at either end.
        ends = _TAPS * c * (INPUT_CHANNELS + MOVE_CHANNELS)
        return ends + cells * self.residual_blocks * (_TAPS * c * c + c * c)


@dataclass(frozen=True)
class SeparableConfig(_Trunk):
    """Residual blocks of a depthwise 3 x 3 x 3 convolution and a pointwise one; ReLU.

    A tenth of a dense network's operations; the trunk's cells are single layers. Native engines run these.

    Attributes:
        patch_embedding: channels of a second input, where detectors are, from which every block gets a
            position bias; 0 for none. It costs nothing once a patch is known.
        family: 'separable'.
    """

    patch_embedding: int = 0
    family: Literal["separable", "quantized-separable"] = "separable"

    time_fold: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_family()
        value = self.patch_embedding
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST:
            raise ValueError(f"network patch_embedding={value!r} is not a whole number from 0 to {_LARGEST}")

    def _check_family(self) -> None:
        _check_family(self.family, "separable")

    @property
    def halo(self) -> tuple[int, int, int]:
        """Layers, rows and columns on either side that one output depends on, in whole cells."""
        convolutions = self.residual_blocks + 1
        if self.patch_embedding:
            convolutions = max(convolutions, self.residual_blocks - 1 + _PATCH_EMBEDDING_REACH)
        return convolutions, 2 * convolutions, 2 * convolutions

    @property
    def macs_per_block(self) -> int:
        """Multiply-accumulates for one block of every shot."""
        c = self.channels
        return c * (_TAPS * INPUT_CHANNELS + MOVE_CHANNELS) + 2 * self.residual_blocks * (_TAPS * c + c * c)


@dataclass(frozen=True)
class QuantizedSeparableConfig(SeparableConfig):
    """A separable network that int8 engines run, twice as fast or more.

    Its weights hold the ranges of its activations, which training measures when it ends
    (`predecoder.network.calibrate`). It has 16, 32, ... 256 channels.

    Attributes:
        family: 'quantized-separable'.
    """

    family: Literal["separable", "quantized-separable"] = "quantized-separable"

    quantized: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels not in range(16, 257, 16):
            raise ValueError(
                f"network channels={self.channels} of family='quantized-separable': use 16, 32, ... 256"
            )

    def _check_family(self) -> None:
        _check_family(self.family, "quantized-separable")


NetworkConfig = DenseConfig | SeparableConfig | QuantizedSeparableConfig
_FAMILIES: dict[str, type[DenseConfig] | type[SeparableConfig]] = {
    "dense": DenseConfig,
    "separable": SeparableConfig,
    "quantized-separable": QuantizedSeparableConfig,
}


def network_config(table: Mapping[str, Any]) -> NetworkConfig:
    """Return the configuration that a table of its fields describes; `family` is 'dense' unless given.

    Raises:
        ValueError: an unknown family, a field that the family does not have, or a value out of range.
    """
    family = table.get("family", "dense")
    if family not in _FAMILIES:
        raise ValueError(f"network family={family!r} is unknown; use one of {', '.join(_FAMILIES)}")
    kind = _FAMILIES[family]
    known = [f.name for f in dataclasses.fields(kind)]
    for key in table:
        if key not in known:
            raise ValueError(
                f"network: unknown key {key!r} of family={family!r}; known keys are {', '.join(known)}"
            )
    return kind(**table)


def _check_family(family: str, expected: str) -> None:
    if family != expected:
        raise ValueError(f"network family={family!r} is not {expected!r}; use network_config for any family")
