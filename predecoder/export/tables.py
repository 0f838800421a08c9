"""Tables of an exported graph: a network on one decoding problem with all constants folded, and its moves.

Of what the first layer sees only the detections change from shot to shot. Presence, noise features and the
patch embedding become biases of their own for every cell.

Shape legend: D detectors, O observables, M moves in the order of `MoveSet`, K the most moves of a detector, P
the most moves of an observable, C channels, (T, i, j) the network's cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from predecoder.blocking import NetworkInput, blocked_noise_features, blocked_places
from qec import DecodingProblem, MoveSet

if TYPE_CHECKING:
    import torch
    from torch import nn

    from predecoder.network import Network

__all__ = ["BlockTables", "MoveTables", "NetworkTables"]


@dataclass(frozen=True, eq=False)
class BlockTables:
    """A residual block: float32 weights, and biases `(C,)` or, of every cell, `(1, C, T, i, j)`.

    Attributes:
        groups: of the spatial convolution: 1, or C for a depthwise one.
        centre: float32 `(1, C, 1, 1, 1)`: subtracted from what the pointwise convolution gets, whose bias
            makes up for it; None for nothing.
    """

    spatial: np.ndarray
    spatial_bias: np.ndarray
    groups: int
    pointwise: np.ndarray
    pointwise_bias: np.ndarray
    centre: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class NetworkTables:
    """A network on one decoding problem.

    Attributes:
        detector: int64 `(c, T, i, j)`: the detector behind each input channel of each cell, or D.
        embed: float32 `(C, c, 3, 3, 3)`.
        first_bias: float32 `(1, C, T, i, j)`.
        blocks: the trunk.
        head, head_bias: the last convolution.
        place: int64 `(M,)`: where the logit of every move stands in its flattened output.
        relu: whether the nonlinearity is ReLU; else GELU.
    """

    detector: np.ndarray
    embed: np.ndarray
    first_bias: np.ndarray
    blocks: tuple[BlockTables, ...]
    head: np.ndarray
    head_bias: np.ndarray
    place: np.ndarray
    relu: bool

    @classmethod
    def of(cls, problem: DecodingProblem, network: Network) -> NetworkTables:
        """Copy the weights of a network and compute what the problem adds to its layers."""
        import torch

        from predecoder.network import SeparableNetwork

        with torch.no_grad():
            source = torch.from_numpy(NetworkInput(problem.layout).source).permute(3, 0, 1, 2)[None]
            detector = network.cells(source)  # of every detector channel of every cell, or -1
            present = (detector >= 0).float()
            noise_bias = None
            if network.config.noise_conditioned:
                features = torch.from_numpy(blocked_noise_features(problem)).permute(0, 4, 1, 2, 3)
                noise_bias = network.noise_bias(features)
            silent = torch.cat([torch.zeros_like(present), present], dim=1)
            first_bias = network.embedded(silent, noise_bias)
            biases: Sequence[torch.Tensor | None] = [None] * len(network.trunk)
            if isinstance(network, SeparableNetwork):
                biases = network.position_biases(present)
            blocks = tuple(map(_block, network.trunk, biases))
        return cls(
            detector=_array(torch.where(detector >= 0, detector, problem.layout.num_detectors)[0]),
            embed=_array(network.embed.weight[:, : present.shape[1]]),
            first_bias=_array(first_bias),
            blocks=blocks,
            head=_array(network.head.weight),
            head_bias=_array(network.head.bias),
            place=_places(problem, network, tuple(detector.shape[2:])),
            relu=isinstance(network, SeparableNetwork),
        )


@dataclass(frozen=True, eq=False)
class MoveTables:
    """Which moves flip a detector or an observable, and which detectors a move: int64, M for no move.

    Attributes:
        ends: `(2, M)`: the detectors of every move, twice the same where it has one.
        incident: `(K, D)`: the moves of every detector, then M.
        near: the same for a maximum, where a move may be repeated and M does not occur.
        flipping: `(P, O)`: the moves of every observable, then M.
    """

    ends: np.ndarray
    incident: np.ndarray
    near: np.ndarray
    flipping: np.ndarray

    @classmethod
    def of(cls, moves: MoveSet) -> MoveTables:
        """The tables of all moves of a layout."""
        ends = moves.ends.astype(np.int64)
        incident = _rows(moves.matrix)
        absent = incident == moves.num_moves
        # A detector without a move is no move's end, and whatever it reads is of no matter.
        first = np.where(absent[:1], 0, incident[:1])
        return cls(
            ends=np.where(ends < 0, ends[:1], ends),
            incident=incident,
            near=np.where(absent, first, incident),
            flipping=_rows(moves.observables),
        )


def _block(block: nn.Module, position_bias_1CTij: torch.Tensor | None) -> BlockTables:
    spatial = getattr(block, "depthwise", None) or block.spatial
    pointwise = block.pointwise
    bias = spatial.bias  # pyright: ignore[reportAttributeAccessIssue]
    if position_bias_1CTij is not None:
        bias = position_bias_1CTij + bias[:, None, None, None]  # pyright: ignore
    weight = _array(spatial.weight)  # pyright: ignore
    return BlockTables(
        spatial=weight,
        spatial_bias=_array(bias),  # pyright: ignore[reportArgumentType]
        groups=len(weight) // weight.shape[1] if weight.shape[1] == 1 else 1,
        pointwise=_array(pointwise.weight),  # pyright: ignore
        pointwise_bias=_array(pointwise.bias),  # pyright: ignore
    )


def _places(problem: DecodingProblem, network: Network, cells: tuple[int, ...]) -> np.ndarray:
    """int64 `(M,)`: where the logit of every move stands in the flattened output of the last convolution."""
    import torch

    shape = (1, network.head.out_channels, *cells)
    order = torch.arange(int(np.prod(shape))).reshape(shape)
    blocked = network.blocks(order).permute(0, 2, 3, 4, 1).flatten().numpy()
    return blocked[blocked_places(problem.layout, problem.moves)]


def _array(tensor: torch.Tensor | None) -> np.ndarray:
    assert tensor is not None
    return np.ascontiguousarray(tensor.detach().cpu().numpy())


def _rows(matrix: sp.csc_matrix) -> np.ndarray:
    """The columns of every row's entries, one below the other, then the number of columns: `(most, rows)`."""
    rows = sp.csr_matrix(matrix)
    rows.sort_indices()
    count = np.diff(rows.indptr)
    table = np.full((max(1, int(count.max(initial=0))), rows.shape[0]), rows.shape[1], dtype=np.int64)
    row = np.repeat(np.arange(rows.shape[0]), count)
    table[np.arange(len(row)) - np.repeat(rows.indptr[:-1], count), row] = rows.indices
    return table
