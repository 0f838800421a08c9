"""What turns shots into logits: graphs on GPUs, C++ on a CPU for separable networks or int8, or torch.

Shots are bit-packed uint8 `(B, ceil(n / 8))`, LSB first. Shape legend: B shots, M moves in the order of
`MoveSet`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from predecoder.inference.device import cuda_drivers
from predecoder.inference.device_engine import DeviceEngine
from predecoder.inference.engine_options import EngineOptions
from predecoder.inference.native_engine import NativeEngine
from predecoder.inference.precision import Precision, choose_precision
from predecoder.inference.torch_engine import TorchEngine
from qec import DecodingProblem

if TYPE_CHECKING:
    from predecoder.network import Network

__all__ = ["Engine", "make_engine"]


class Engine(Protocol):
    """A network on one decoding problem.

    Attributes:
        precision: what it computes in (`predecoder.inference.precision`).
    """

    precision: Precision

    def __call__(self, packed: np.ndarray) -> np.ndarray:
        """The network's logits of all moves: float32 `(B, M)`."""
        ...


def make_engine(problem: DecodingProblem, network: Network, options: EngineOptions) -> Engine:
    """Return the fastest engine for a network, a device and a precision.

    Raises:
        ValueError: the network or the device does not have this precision.
        QuantizationError: int8 cannot hold this network; also a ValueError.
        DeviceError: a GPU fails.
    """
    device = options.torch_device
    chosen = choose_precision(options.precision, int8=network.int8, device_type=device.type)
    if device.type == "cuda":
        return DeviceEngine(
            problem,
            network,
            drivers=cuda_drivers(device),
            precision=chosen,
            batch_shots=options.batch_shots,
        )
    if chosen == "int8":
        return NativeEngine(problem, network, precision="int8")
    if chosen == "float32" and NativeEngine.runs(network, "float32"):
        return NativeEngine(problem, network, precision="float32")
    return TorchEngine(
        problem,
        network,
        device=device,
        precision=chosen,
        batch_shots=options.batch_shots,
        threads=options.threads,
    )
