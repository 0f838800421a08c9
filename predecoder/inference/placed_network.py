"""A network's copy on a device, as `cuda.qecpipe.Program` runs it.

Shape legend: B shots, C channels, (t, i, j) blocks, (T, i, j) the network's cells.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from cuda.qecpipe import Driver, LogitType, MoveLogits
from predecoder.inference.device import running
from predecoder.inference.precision import Precision

if TYPE_CHECKING:
    import torch

    from predecoder.network import Network

__all__ = ["LOGIT_STEP", "PlacedNetwork", "noise_bias"]

LOGIT_STEP = 1 / 8
"""Nats of an int8 logit's unit, in types of 16 bits. Logits are then from -15.9 to 15.9; moves with larger
ones decide no shot, and of logits near 8 a network in bfloat16 itself knows no more than a few hundredths."""


class PlacedNetwork:
    """A network on a device, in one type throughout.

    Attributes:
        driver: of the device.
        dtype: of inputs, parameters and logits.
        output: how logits are handed down: float32 as they are, others as int8 in units of `LOGIT_STEP`.
    """

    def __init__(self, network: Network, driver: Driver, *, precision: Precision) -> None:
        """Copy it.

        Raises:
            ValueError: devices do not compute in this precision, or it does not hold the network's weights.
            DeviceError: the device fails.
        """
        import torch

        if precision == "int8":
            raise ValueError(
                "devices compute in float32, bfloat16 or float16; make_engine has engines for int8"
            )
        self.driver = driver
        self.dtype: LogitType = precision
        self.output = MoveLogits(None if precision == "float32" else 1 / LOGIT_STEP)
        self._type: torch.dtype = getattr(torch, self.dtype)
        _check_range(network, self._type, precision)
        self._network = copy.deepcopy(network).to(driver.device, self._type).eval()

    def with_noise(self, noise_bias_1CTij: np.ndarray | None) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return what computes logits `(B, 24, t, i, j)` of inputs `(B, 16, t, i, j)`, channels last.

        Args:
            noise_bias_1CTij: float32, of these cells (`noise_bias`); None where the network has none.
        """
        import torch

        bias = None
        if noise_bias_1CTij is not None:
            bias = self.driver.table(noise_bias_1CTij).to(self._type)
            bias = bias.contiguous(memory_format=torch.channels_last_3d)

        def logits(x_BCtij: torch.Tensor) -> torch.Tensor:
            with running(self.driver.device, "float32", work=math.inf):
                return self._network.logits(x_BCtij, bias)

        return logits


def _check_range(network: Network, kind: torch.dtype, precision: Precision) -> None:
    """Refuse weights that would become infinite: logits would be NaN, which are handed down as 0."""
    import torch

    for name, values in network.state_dict().items():
        largest = values.abs().max().item() if values.is_floating_point() and values.numel() else 0.0
        if largest > torch.finfo(kind).max:
            raise ValueError(
                f"{name} of this network has {largest:.3g}, and {precision} ends at "
                f"{torch.finfo(kind).max:.3g}; use precision 'bfloat16' or 'float32'"
            )


def noise_bias(network: Network, features_1tijF: np.ndarray) -> np.ndarray:
    """What noise adds to the first layer, computed on the host: float32 `(1, C, T, i, j)`.

    Args:
        features_1tijF: float32 `(1, t, i, j, 64)`, blocked noise features.
    """
    import torch

    host = torch.device("cpu")
    features = torch.from_numpy(features_1tijF).permute(0, 4, 1, 2, 3)
    with running(host, "float32", work=math.inf):
        return copy.deepcopy(network).to(host).noise_bias(features).numpy()
