"""Binding of `network.cpp`: a separable network on bit-packed shots of one layout.

Shape legend: B shots, M moves of `MoveSet`, T layers, n cells of 2 x 2 ancillas, C channels.
"""

from __future__ import annotations

import ctypes
import threading
from typing import TYPE_CHECKING

import numpy as np

from predecoder.native.arrays import address, checked
from predecoder.native.library import load_library
from qec.layout import DetectorLayout
from qec.moves import MoveSet

if TYPE_CHECKING:
    import torch

    from predecoder.network import Network, NetworkConfig

__all__ = ["NativeNetwork"]

_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_int64
_WEIGHTS = ("embed", "start", "depth", "fields", "mix", "mix_bias", "head", "head_bias")
_TABLES = (*_WEIGHTS, "kind", "source", "places")
_DETECTORS, _MOVES, _TILE, _LANES = 4, 12, 4, 8
_ALIGNMENT = 64


class _Description(ctypes.Structure):
    """`QecpipeNetwork` of network.cpp."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("channels", "blocks", "layers", "rows", "columns", "kinds")),
        *((name, _POINTER) for name in _TABLES),
        ("moves", _SIZE),
    )


class NativeNetwork:
    """Logits of a separable network that agree with torch's up to rounding, several times faster."""

    def __init__(self, layout: DetectorLayout, network: Network, moves: MoveSet) -> None:
        """Copies the weights.

        Raises:
            NativeUnavailableError: see `load_library`.
            ValueError: the network is not of the kind that `runs` tells.
        """
        config = network.config
        if not self.runs(config):
            raise ValueError(f"the native engine runs separable networks with time_fold=1, not {config}")
        library = load_library("network")
        library.qecpipe_network_scratch.restype = _SIZE
        library.qecpipe_network_scratch.argtypes = [_POINTER]
        library.qecpipe_network_stride.restype = ctypes.c_int32
        library.qecpipe_network_stride.argtypes = [ctypes.c_int32, ctypes.c_int32]
        self._run = library.qecpipe_network
        self._run.restype = None
        self._run.argtypes = [_POINTER, _POINTER, _SIZE, _SIZE, _POINTER, _POINTER]
        layers, rows, columns = layout.shape[0], layout.shape[1] // 2, layout.shape[2] // 2
        stride = library.qecpipe_network_stride(rows, columns)
        detectors = _cells(layout.detector_grid)
        fields, kind = _fields(network, detectors >= 0)
        tables = _tables(network) | {
            "start": _start(network, detectors >= 0),
            "fields": fields,
            "kind": kind,
            "source": detectors.reshape(layers, _DETECTORS, -1).astype(np.int32),
            "places": _places(layout, moves, stride=stride),
        }
        self._tables = {name: np.ascontiguousarray(tables[name]) for name in _TABLES}
        self._description = _Description(
            *(config.channels, config.residual_blocks, layers, rows, columns, fields.shape[1]),
            *(address(self._tables[name]) for name in _TABLES),
            moves.num_moves,
        )
        self._scratch_bytes = library.qecpipe_network_scratch(ctypes.byref(self._description))
        self._local = threading.local()
        self._num_moves, self._num_detectors = moves.num_moves, layout.num_detectors

    @staticmethod
    def runs(config: NetworkConfig) -> bool:
        """Whether the engine can run such a network."""
        return config.separable and config.time_fold == 1 and config.channels % _LANES == 0

    def __call__(self, packed: np.ndarray) -> np.ndarray:
        """Logits float32 `(B, M)` of uint8 `(B, ceil(D / 8))`, LSB first; threads may call at once."""
        packed = checked(packed, np.uint8, (len(packed), -(-self._num_detectors // 8)))
        logits = np.empty((len(packed), self._num_moves), dtype=np.float32)
        self._run(
            ctypes.byref(self._description),
            *(address(packed), packed.shape[1], len(packed)),
            *(address(logits), self._scratch()),
        )
        return logits

    def _scratch(self) -> int:
        """Address of this thread's scratch memory."""
        if not hasattr(self._local, "scratch"):
            self._local.scratch = np.empty(self._scratch_bytes + _ALIGNMENT, dtype=np.uint8)
        start = address(self._local.scratch)
        return start + -start % _ALIGNMENT


def _cells(grid_TIJ: np.ndarray) -> np.ndarray:
    """A grid folded into cells of 2 x 2 ancillas: `(T, I, J)` -> `(T, 4, I / 2, J / 2)`."""
    layers, rows, columns = grid_TIJ.shape
    return (
        grid_TIJ.reshape(layers, rows // 2, 2, columns // 2, 2)
        .transpose(0, 2, 4, 1, 3)
        .reshape(layers, 4, rows // 2, columns // 2)
    )


def _tables(network: Network) -> dict[str, np.ndarray]:
    """Weights in the order in which the engine reads them."""
    state = {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}
    channels, blocks = network.config.channels, range(network.config.residual_blocks)
    return {
        "embed": state["embed.weight"].reshape(channels, -1, 27)[:, :_DETECTORS].transpose(1, 2, 0),
        "depth": np.stack([state[f"trunk.{b}.spatial.weight"].reshape(channels, 27) for b in blocks]),
        "mix": np.stack([_tiled(state[f"trunk.{b}.mix.weight"]) for b in blocks]),
        "mix_bias": np.stack([state[f"trunk.{b}.mix.bias"] for b in blocks]),
        "head": _tiled(state["head.weight"]),
        "head_bias": state["head.bias"],
    }


def _tiled(weight: np.ndarray) -> np.ndarray:
    """Weights of a pointwise convolution for a tile of outputs at a time: `(outputs / 4, inputs, 4)`."""
    outputs, inputs = weight.shape[:2]
    return weight.reshape(outputs // _TILE, _TILE, inputs).transpose(0, 2, 1)


def _start(network: Network, present: np.ndarray) -> np.ndarray:
    """What the first convolution adds to that of the detections: its bias and the presence of detectors.

    Args:
        present: bool `(T, 4, I / 2, J / 2)`.

    Returns:
        float32 `(T, n, C)`.
    """
    import torch

    weight = network.embed.weight.detach().cpu()[:, _DETECTORS:].contiguous()
    planes = _as_input(present)
    bias = network.embed.bias.detach().cpu()  # pyright: ignore[reportOptionalMemberAccess]
    with torch.inference_mode():
        start = torch.nn.functional.conv3d(planes, weight, bias, padding=1)[0].numpy()
    channels, layers = start.shape[:2]
    return start.reshape(channels, layers, -1).transpose(1, 2, 0)


def _fields(network: Network, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What every block adds to its stencils: biases and the geometry.

    Args:
        present: bool `(T, 4, I / 2, J / 2)`.

    Returns:
        float32 `(blocks, kinds, C, n)`, and the kind of every layer, int32 `(T,)`: most are alike.
    """
    import torch

    layers = len(present)
    biases = torch.stack([block.spatial.bias for block in network.trunk])  # pyright: ignore
    with torch.inference_mode():
        fields = biases.detach().cpu()[:, None, :, None].expand(-1, layers, -1, present[0, 0].size)
        geometry = network.fields(_as_input(present).to(biases.device))
        if geometry[0] is not None:
            stacked = torch.cat(geometry).cpu()  # pyright: ignore[reportArgumentType]
            fields = fields + stacked.permute(0, 2, 1, 3, 4).reshape(fields.shape)
    of_layer = fields.numpy().transpose(1, 0, 2, 3).reshape(layers, -1)
    _, first, kind = np.unique(of_layer, axis=0, return_index=True, return_inverse=True)
    return fields.numpy()[:, first], kind.ravel().astype(np.int32)


def _as_input(present: np.ndarray) -> torch.Tensor:
    """Presence channels `(1, 4, T, I / 2, J / 2)`."""
    import torch

    return torch.from_numpy(present.transpose(1, 0, 2, 3).astype(np.float32))[None]


def _places(layout: DetectorLayout, moves: MoveSet, *, stride: int) -> np.ndarray:
    """int32 `(M,)`: the vector that holds every move's logits, in planes `(T, 12)` of `stride` vectors."""
    kind, t, i, j = np.unravel_index(moves.positions, layout.move_mask.shape)
    channel = 4 * kind + 2 * (i % 2) + j % 2
    cell = (i // 2) * (layout.shape[2] // 2) + j // 2
    return ((t * _MOVES + channel) * stride + cell).astype(np.int32)
