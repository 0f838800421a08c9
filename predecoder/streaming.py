"""The pre-decoder on a stream: layers of detections in, layers of the residual out.

The network runs on a fixed grid of tiles in time, each with the layers that its output depends on
(`halo_blocks`), and every move is decided once, when nothing still to come can change the decision.
In float32 on a CPU residual and flips are those of the whole volume in torch, bit for bit: the network rounds
alike whatever its input's shape (`predecoder.convolution`, `predecoder.activation`), and chains are judged
when they are complete. The engines in C++, which whole shots may go through, round otherwise: a logit may
cross a threshold there.

Shape legend: (I, J) the ancilla grid, t blocks of 2 layers, O observables.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from predecoder.blocking import block, unblock
from predecoder.decision import DecisionConfig
from predecoder.inference import Precision, halo_blocks, running
from predecoder.mechanisms import StreamMechanisms
from predecoder.network import Network
from predecoder.open_chains import Bond, Move, Node, OpenChains
from predecoder.rates import StreamRates
from predecoder.stream_layers import StreamLayers
from qec import DecodingProblem

__all__ = ["ResidualLayer", "ResidualStream", "StreamPredecoder"]


@dataclass(frozen=True, eq=False)
class ResidualLayer:
    """A layer that the pre-decoder is done with.

    Attributes:
        bits: uint8 0/1 (detectors of the layer,): what is left of the syndrome.
        flips: uint8 0/1 (O,): of the observables, by the committed moves of this layer.
    """

    bits: np.ndarray
    flips: np.ndarray


@dataclass(frozen=True, eq=False)
class _Slab:
    """The moves of a few layers: which exist, and what they touch.

    Attributes:
        mask: bool (3, T, I, J), flattened.
        ends: per flattened move its one or two detectors, the layer counted from the slab's first.
    """

    mask: np.ndarray
    ends: dict[int, tuple[Node, ...]]


class StreamPredecoder:
    """A network on one patch, shared by all shots of a stream.

    Args:
        problem: an experiment of any number of rounds on this patch.
        network: proposes the moves.
        device: where it runs.
        precision: float32 or bfloat16; a stream has no engine for int8.
        tile: blocks of 2 layers that are computed at a time; more of them cost fewer repeated
            layers and more waiting.
        decision: the network's own, the aggressive one, unless another is given.
        mechanisms: those of the problem's DEM, needed by a decision that binds by them.
        layers: those of the problem's DEM, needed by a network that is told of the noise.

    Raises:
        ValueError: a tile of nothing, a precision that streams do not have, or a decision or network without
            what it needs.
    """

    def __init__(
        self,
        problem: DecodingProblem,
        network: Network,
        *,
        device: torch.device,
        precision: Precision = "float32",
        tile: int = 2,
        decision: DecisionConfig | None = None,
        mechanisms: StreamMechanisms | None = None,
        layers: StreamLayers | None = None,
    ) -> None:
        if tile < 1:
            raise ValueError(f"tile={tile} blocks: a tile has at least 1")
        if precision == "int8":
            raise ValueError("precision='int8' is for whole shots; streams have 'float32' and 'bfloat16'")
        self.precision: Precision = precision
        layout = problem.layout
        if layout.deterministic.any():
            raise ValueError(
                f"no mechanism flips detector D{int(np.argmax(layout.deterministic))} or others, "
                f"{int(layout.deterministic.sum())} in all; a stream needs noise in every round"
            )
        self.layout, self.tile = layout, tile
        self._problem = problem
        self.decision = decision or network.decision_for("aggressive", problem)
        if self.decision.bind == "mechanisms" and mechanisms is None:
            raise ValueError("bind='mechanisms' needs the DEM's mechanisms; give them, or use bind='moves'")
        binds = self.decision.bind == "mechanisms" and not self.decision.is_plain
        self.mechanisms = mechanisms if binds else None
        """Those that the decision looks at, if it does."""
        self.halo = halo_blocks(network)[0]
        """Blocks on either side of a tile that its output depends on."""
        self._rates, unlike = None, 0
        if network.config.rates:
            if layers is None:
                raise ValueError("a network with rates=true needs the DEM's layers; give them")
            # Rates of the halo must be those of any experiment that goes on.
            self._rates, unlike = StreamRates(problem, layers), max(0, layers.ending - 1)
        lookahead = 0 if self.mechanisms is None else self.mechanisms.lookahead
        self.ahead = max(self.halo + -(-unlike // 2), -(-lookahead // 2))
        """Blocks after a tile that must be there before it is decided."""
        self._network, self._device = network.to(device), device
        self._slabs: dict[tuple[bytes, ...], _Slab] = {}

    @property
    def latency(self) -> int:
        """Layers that must follow a layer before its residual can be known, where no chain is open."""
        return 2 * (self.ahead + self.tile)

    def begin(self) -> ResidualStream:
        """A new shot."""
        return ResidualStream(self)

    def logits(self, grid: np.ndarray, *, start: int, num_layers: int | None) -> np.ndarray:
        """Of every move: uint8 0/1 (2, 2 t, I, J), detections and presence -> float32 (3, 2 t, I, J).

        Args:
            grid: of consecutive layers.
            start: the first one.
            num_layers: of the experiment; None where it goes on.
        """
        inputs, rates = self._blocked(grid), None
        if self._rates is not None:
            rates = self._blocked(self._rates.of(start, start + grid.shape[1], num_layers=num_layers))
        work = self._network.config.macs_per_block * grid[0].size / 8
        with running(self._device, self.precision, work=work):
            logits = self._network(inputs, rates)
        return unblock(logits.permute(0, 2, 3, 4, 1).float().cpu().numpy())[0]

    def _blocked(self, grid: np.ndarray) -> torch.Tensor:
        blocked = torch.from_numpy(block(grid[None]).astype(np.float32)).to(self._device)
        return blocked.permute(0, 4, 1, 2, 3)

    def slab(self, cells: list[np.ndarray]) -> _Slab:
        """Moves of consecutive layers, given the cells of their detectors; made once for equal ones."""
        key = tuple(where.tobytes() for where in cells)
        if key not in self._slabs:
            self._slabs[key] = self._make_slab(cells)
        return self._slabs[key]

    def _make_slab(self, cells: list[np.ndarray]) -> _Slab:
        layout, moves = self._problem.moves_of_layers(cells)
        nodes = [(t, int(cell)) for t, where in enumerate(cells) for cell in where]
        ends = {
            int(position): tuple(nodes[d] for d in moves.matrix.indices[start:stop])
            for position, start, stop in zip(
                moves.positions, moves.matrix.indptr[:-1], moves.matrix.indptr[1:], strict=True
            )
        }
        return _Slab(layout.move_mask, ends)


class ResidualStream:
    """One shot: layers are added one by one, and come back, in order, as soon as they are known."""

    def __init__(self, predecoder: StreamPredecoder) -> None:
        self._predecoder = predecoder
        self._chains = OpenChains(predecoder.decision)
        self._area = int(np.prod(predecoder.layout.shape[1:]))
        self._masks = predecoder.layout.observable_masks.reshape(predecoder.layout.num_observables, 2, -1)
        self._layers: dict[int, np.ndarray] = {}
        self._cells: dict[int, np.ndarray] = {}
        self._changes: dict[int, np.ndarray] = {}
        self._flips: dict[int, np.ndarray] = {}
        self._added = self._decided = self._given = 0

    def add(self, bits: np.ndarray, cells: np.ndarray) -> list[ResidualLayer]:
        """The next layer; what it completes.

        Args:
            bits: uint8 0/1 (detectors of the layer,).
            cells: int64 (detectors of the layer,): where they stand in the flattened (I, J) grid.
        """
        self._put(bits, cells)
        done: list[ResidualLayer] = []
        predecoder = self._predecoder
        while self._added // 2 >= self._decided + predecoder.tile + predecoder.ahead:
            done += self._advance(self._decided + predecoder.tile, ended=False)
        return done

    def end(self, bits: np.ndarray, cells: np.ndarray) -> list[ResidualLayer]:
        """The last layer; all that have not come back yet."""
        self._put(bits, cells)
        done: list[ResidualLayer] = []
        blocks = -(-self._added // 2)
        while self._decided < blocks:
            done += self._advance(min(self._decided + self._predecoder.tile, blocks), ended=True)
        return done

    def _put(self, bits: np.ndarray, cells: np.ndarray) -> None:
        layer = np.zeros((2, self._area), dtype=np.uint8)
        layer[0, cells] = bits
        layer[1, cells] = 1
        self._layers[self._added], self._cells[self._added] = layer, cells
        self._changes[self._added] = np.zeros(self._area, dtype=np.uint8)
        self._flips[self._added] = np.zeros(len(self._masks), dtype=np.uint8)
        self._added += 1

    def _advance(self, stop: int, *, ended: bool) -> list[ResidualLayer]:
        """Decides the moves of the blocks up to `stop`."""
        proposed, bonds = self._proposed(stop, ended=ended), self._bonds(stop, ended=ended)
        limit = self._added if ended and 2 * stop >= self._added else 2 * stop
        committed, frontier = self._chains.settle(
            proposed, bonds, limit=limit, fired=lambda node: bool(self._layers[node[0]][0, node[1]])
        )
        for move in committed:
            for layer, cell in move.ends:
                self._changes[layer][cell] ^= 1
            if move.kind < 2:
                self._flips[move.layer] ^= self._masks[:, move.kind, move.cell].astype(np.uint8)
        self._decided = stop
        done = [self._take(layer) for layer in range(self._given, frontier)]
        self._given = frontier
        self._forget(min(frontier, 2 * max(0, stop - self._predecoder.halo)))
        return done

    def _proposed(self, stop: int, *, ended: bool) -> list[Move]:
        predecoder, start = self._predecoder, self._decided
        low, high = max(0, start - predecoder.halo), stop + predecoder.halo
        if ended:
            high = min(high, -(-self._added // 2))
        grid = np.zeros((2, 2 * (high - low), self._area), dtype=np.uint8)
        for t in range(2 * low, min(2 * high, self._added)):
            grid[:, t - 2 * low] = self._layers[t]
        logits = predecoder.logits(
            grid.reshape(2, -1, *predecoder.layout.shape[1:]),
            start=2 * low,
            num_layers=self._added if ended else None,
        )
        # One layer more than is decided here: measurement flips are seen in the layer after theirs.
        slab = predecoder.slab([self._cells[t] for t in range(2 * start, min(2 * stop + 1, self._added))])
        layers = min(2 * (stop - start), slab.mask.shape[1])
        core = logits[:, 2 * (start - low) : 2 * (start - low) + layers]
        found = np.argwhere((core > predecoder.decision.propose) & slab.mask[:, :layers])
        moves = []
        for kind, t, i, j in found.tolist():
            ends = slab.ends[int(np.ravel_multi_index((kind, t, i, j), slab.mask.shape))]
            nodes = tuple((2 * start + layer, cell) for layer, cell in ends)
            cell = i * slab.mask.shape[3] + j
            moves.append(Move(float(core[kind, t, i, j]), nodes, 2 * start + t, kind, cell))
        return moves

    def _bonds(self, stop: int, *, ended: bool) -> list[Bond]:
        """Of the mechanisms that begin in the layers decided now."""
        mechanisms, start = self._predecoder.mechanisms, 2 * self._decided
        if mechanisms is None:
            return []
        bits = np.zeros((min(2 * stop, self._added) - start + mechanisms.reach, self._area), dtype=np.uint8)
        for t in range(start, min(start + len(bits), self._added)):
            bits[t - start] = self._layers[t][0]
        return mechanisms.fired(bits, start=start, num_layers=self._added if ended else None)

    def _take(self, layer: int) -> ResidualLayer:
        cells = self._cells[layer]
        left = self._layers[layer][0, cells] ^ self._changes.pop(layer)[cells]
        return ResidualLayer(left, self._flips.pop(layer))

    def _forget(self, before: int) -> None:
        """Layers that neither the network nor a chain looks at again."""
        for held in (self._layers, self._cells):
            for layer in [t for t in held if t < before]:
                del held[layer]
