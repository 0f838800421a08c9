"""Binding of `network.cpp`: a separable network on bit-packed shots of one layout.

Shape legend: B shots, M moves of `MoveSet`, T layers, n cells of 2 x 2 ancillas, C channels.
"""

from __future__ import annotations

import ctypes
import threading
from typing import TYPE_CHECKING, NamedTuple

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
_CELLS_PER_TILE = 65_536
"""A larger volume is cut along time and computed tile by tile, to bound memory."""


class _Description(ctypes.Structure):
    """`QecpipeNetwork` of network.cpp."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("channels", "blocks", "layers", "rows", "columns", "kinds")),
        *((name, _POINTER) for name in _TABLES),
        ("moves", _SIZE),
    )


class _Tile(NamedTuple):
    """Layers whose logits are computed together.

    Attributes:
        description: of these layers and those around that they depend on.
        moves: int64, numbers of the moves in these layers; None for all there are.
    """

    description: _Description
    moves: np.ndarray | None


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
        rows, columns = layout.shape[1] // 2, layout.shape[2] // 2
        stride = library.qecpipe_network_stride(rows, columns)
        detectors = _cells(layout.detector_grid)
        fields, kind = _fields(network, detectors >= 0)
        tables = _tables(network) | {
            "start": _start(network, detectors >= 0),
            "fields": fields,
            "kind": kind,
            "source": detectors.reshape(len(detectors), _DETECTORS, -1).astype(np.int32),
        }
        self._tables = {name: np.ascontiguousarray(table) for name, table in tables.items()}
        self._places: list[np.ndarray] = []
        layer, place = _places(layout, moves, stride=stride)
        layers = max(1, _CELLS_PER_TILE // (rows * columns))
        self._tiles: list[_Tile] = []
        for start in range(0, len(detectors), layers):
            stop = min(start + layers, len(detectors))
            whole = stop - start == len(detectors)
            inside = None if whole else np.flatnonzero((layer >= start) & (layer < stop))
            low, high = max(0, start - config.halo[0]), min(len(detectors), stop + config.halo[0])
            places = (place + (layer - low) * _MOVES * stride)[... if inside is None else inside]
            description = self._describe(config, low, high, rows, columns, places.astype(np.int32))
            self._tiles.append(_Tile(description, inside))
        self._scratch_bytes = max(
            library.qecpipe_network_scratch(ctypes.byref(tile.description)) for tile in self._tiles
        )
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
        for description, moves in self._tiles:
            part = logits if moves is None else np.empty((len(packed), len(moves)), dtype=np.float32)
            self._run(
                ctypes.byref(description),
                *(address(packed), packed.shape[1], len(packed)),
                *(address(part), self._scratch()),
            )
            if moves is not None:
                logits[:, moves] = part
        return logits

    def _describe(
        self, config: NetworkConfig, low: int, high: int, rows: int, columns: int, places: np.ndarray
    ) -> _Description:
        """Layers `low` to `high`, and where the moves that are asked for stand in them."""
        self._places.append(places)
        tables = self._tables | {name: self._tables[name][low:] for name in ("start", "kind", "source")}
        tables["places"] = places
        return _Description(
            *(config.channels, config.residual_blocks, high - low, rows, columns, tables["fields"].shape[1]),
            *(address(tables[name]) for name in _TABLES),
            len(places),
        )

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

    biases = torch.stack([block.spatial.bias for block in network.trunk])  # pyright: ignore
    biases = biases.detach().cpu()[:, :, None]
    cells = present[0, 0].size
    if network.geometry is None:
        fields = biases.expand(-1, -1, cells).numpy()[:, None]
        return fields, np.zeros(len(present), dtype=np.int32)
    reach, (first, kind) = network.geometry.REACH, _kinds(present, reach=network.geometry.REACH)
    fields = []
    with torch.inference_mode():
        for t in first:
            low = max(0, t - reach)
            around = _as_input(present[low : t + reach + 1]).to(network.embed.weight.device)
            geometry = torch.cat(network.fields(around))[:, :, t - low]  # pyright: ignore[reportArgumentType]
            fields.append((biases + geometry.cpu().reshape(*biases.shape[:2], cells)).numpy())
    return np.stack(fields, axis=1), kind


def _kinds(present: np.ndarray, *, reach: int) -> tuple[list[int], np.ndarray]:
    """Layers of one kind have the same detectors up to `reach` layers around: first ones, and all kinds."""
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


def _as_input(present: np.ndarray) -> torch.Tensor:
    """Presence channels `(1, 4, T, I / 2, J / 2)`."""
    import torch

    return torch.from_numpy(present.transpose(1, 0, 2, 3).astype(np.float32))[None]


def _places(layout: DetectorLayout, moves: MoveSet, *, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """int64 `(M,)`: every move's layer, and the vector of its logits in a layer's 12 planes of `stride`."""
    kind, t, i, j = np.unravel_index(moves.positions, layout.move_mask.shape)
    channel = 4 * kind + 2 * (i % 2) + j % 2
    cell = (i // 2) * (layout.shape[2] // 2) + j // 2
    return t, channel * stride + cell
