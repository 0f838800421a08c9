"""The pre-decoder on a stream: layers of detections in, layers of the residual out.

The network runs on a fixed grid of tiles in time, each with the layers that its output depends on
(`halo_blocks`), and every move is decided once, when nothing still to come can change the decision.
In float32 on a CPU residual and flips are those of the whole volume in torch, bit for bit: the network rounds
alike whatever its input's shape (`predecoder.network`), and clusters are judged
when they are complete. The engines in C++, which whole shots may go through, round otherwise: a logit may
cross a threshold there.

Shape legend: (I, J) the ancilla grid, t blocks of 2 layers, M moves, O observables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from global_decoders.windows import LayeredDem
from predecoder.applicability import ShortExperimentWarning, short_experiment, warn_caller
from predecoder.blocking import block, unblock
from predecoder.correction.clusters import LONGEST_WAIT, Proposed, StreamingClusters
from predecoder.correction.hyperedges import StreamHyperedges
from predecoder.correction.policies import ThresholdPolicy
from predecoder.correction.stream_layers import StreamLayers
from predecoder.correction.stream_noise_features import StreamNoiseFeatures
from predecoder.inference import Precision
from qec import DecodingProblem

if TYPE_CHECKING:
    import torch

    from predecoder.network import Network

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
    """The moves of a few layers, and what they flip.

    Attributes:
        kind, layer, cell: int64 (M,): places on the move grid, cells of the flattened (I, J).
        ends: int64 (2, M): the detectors of each, its only one twice, as layer * I * J + cell.
        flips: uint8 (O, M): the observables that each flips.
    """

    kind: np.ndarray
    layer: np.ndarray
    cell: np.ndarray
    ends: np.ndarray
    flips: np.ndarray


class StreamPredecoder:
    """A network on one patch, shared by all shots of a stream.

    Args:
        problem: an experiment of any number of rounds on this patch.
        network: proposes the moves.
        policy: commits them (`stream_policy`).
        layers: of the problem's DEM.
        device: where the network runs: 'auto', 'cpu' or 'cuda'.
        precision: float32 or bfloat16; a stream has no engine for int8.
        tile: blocks of 2 layers that are computed at a time; more of them cost fewer repeated
            layers and more waiting.
        min_rounds: of the shortest experiment that the network is used for. Nothing is committed before an
            experiment is known to be as long; the first that is shorter is told by a
            `ShortExperimentWarning`.

    Raises:
        ValueError: a tile of nothing, a precision that streams do not have, a detector that never fires, or
            layers of another DEM.
    """

    def __init__(
        self,
        problem: DecodingProblem,
        network: Network,
        *,
        policy: ThresholdPolicy,
        layers: LayeredDem,
        device: str | torch.device = "auto",
        precision: Precision = "float32",
        tile: int = 2,
        min_rounds: int = 1,
    ) -> None:
        from predecoder.inference import halo_blocks, select_device

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
        self.layout, self.tile, self.policy, self.min_rounds = layout, tile, policy, min_rounds
        self._problem = problem
        stream_layers = StreamLayers(layout, layers)
        joins = policy.clustering == "hyperedges" and not policy.commits_all
        self.hyperedges = StreamHyperedges(problem, stream_layers) if joins else None
        """Those that the policy looks at, if it does."""
        self.halo = halo_blocks(network)[0]
        """Blocks on either side of a tile that its output depends on."""
        self._features, unlike = None, 0
        if network.config.noise_conditioned:
            # Noise features of the halo must be those of any experiment that goes on.
            self._features, unlike = (
                StreamNoiseFeatures(problem, stream_layers),
                max(0, stream_layers.ending - 1),
            )
        lookahead = 0 if self.hyperedges is None else self.hyperedges.lookahead
        self.ahead = max(self.halo + -(-unlike // 2), -(-lookahead // 2))
        """Blocks after a tile that must be there before it is decided."""
        self._device = select_device(device) if isinstance(device, str) else device
        self._network = network.to(self._device)
        self._slabs: dict[tuple[bytes, ...], _Slab] = {}
        self._warned = False

    @property
    def latency(self) -> int:
        """Layers that must follow a layer before its residual can be known, where no cluster is open."""
        return max(2 * (self.ahead + self.tile), self.min_rounds)

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
        from predecoder.inference import running

        inputs, features = self._blocked(grid), None
        if self._features is not None:
            stop = start + grid.shape[1]
            features = self._blocked(self._features.of(start, stop, num_layers=num_layers))
        work = self._network.config.macs_per_block * grid[0].size / 8
        with running(self._device, self.precision, work=work):
            logits = self._network(inputs, features)
        return unblock(logits.permute(0, 2, 3, 4, 1).float().cpu().numpy())[0]

    def _blocked(self, grid: np.ndarray) -> torch.Tensor:
        import torch

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
        area = int(np.prod(layout.shape[1:]))
        kind, layer, cell = np.unravel_index(moves.positions, (3, layout.shape[0], area))
        nodes = np.concatenate([t * area + where for t, where in enumerate(cells)])
        ends = moves.ends
        ends = nodes[np.where(ends < 0, ends[0], ends)]
        return _Slab(kind, layer, cell, ends, moves.observables.toarray())

    def warn_of_short(self, num_layers: int) -> None:
        """Say, for the first shot only, that an experiment is too short for the network."""
        if not self._warned:
            self._warned = True
            warn_caller(short_experiment(num_layers - 1, self.min_rounds), ShortExperimentWarning)


class ResidualStream:
    """One shot: layers are added one by one, and come back, in order, as soon as they are known."""

    def __init__(self, predecoder: StreamPredecoder) -> None:
        self._predecoder = predecoder
        self._area = int(np.prod(predecoder.layout.shape[1:]))
        self._clusters = StreamingClusters(predecoder.policy, longest_wait=LONGEST_WAIT * self._area)
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
        if self._added < predecoder.min_rounds:  # the last layer, of data qubits, is still to come
            return done
        while self._added // 2 >= self._decided + predecoder.tile + predecoder.ahead:
            done += self._advance(self._decided + predecoder.tile, ended=False)
        return done

    def end(self, bits: np.ndarray, cells: np.ndarray) -> list[ResidualLayer]:
        """The last layer; all that have not come back yet."""
        self._put(bits, cells)
        if self._added - 1 < self._predecoder.min_rounds:
            self._predecoder.warn_of_short(self._added)
            return [self._take(layer) for layer in range(self._added)]
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
        self._flips[self._added] = np.zeros(self._predecoder.layout.num_observables, dtype=np.uint8)
        self._added += 1

    def _advance(self, stop: int, *, ended: bool) -> list[ResidualLayer]:
        """Decide the moves of the blocks up to `stop`."""
        last = ended and 2 * stop >= self._added
        committed, frontier = self._clusters.finalize(
            self._proposed(stop, ended=ended),
            self._pairs(stop, ended=ended),
            fired=self._fired,
            limit=None if last else 2 * stop * self._area,
        )
        self._apply(committed)
        self._decided = stop
        known = self._added if frontier is None else frontier // self._area
        done = [self._take(layer) for layer in range(self._given, known)]
        self._given = known
        self._forget(min(known, 2 * max(0, stop - self._predecoder.halo)))
        return done

    def _apply(self, moves: Proposed) -> None:
        """Flip what committed moves flip: their one or two detectors, and observables with the layer."""
        for (a, b), flips in zip(moves.ends.T.tolist(), moves.tags.T, strict=True):
            for node in {a, b}:
                self._changes[node // self._area][node % self._area] ^= 1
            self._flips[a // self._area] ^= flips

    def _fired(self, nodes: np.ndarray) -> np.ndarray:
        return np.array([self._layers[n // self._area][0, n % self._area] for n in nodes.tolist()], np.uint8)

    def _proposed(self, stop: int, *, ended: bool) -> Proposed:
        from predecoder.inference import with_halo

        predecoder, start = self._predecoder, self._decided
        end = -(-self._added // 2) if ended else None
        low, high = with_halo(start, stop, predecoder.halo, end=end)
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
        core = logits.reshape(3, -1, self._area)[:, 2 * (start - low) :]
        here = np.flatnonzero(slab.layer < 2 * (stop - start))
        of_move = core[slab.kind[here], slab.layer[here], slab.cell[here]]
        likely = of_move > predecoder.policy.propose
        chosen = here[likely]
        ends = slab.ends[:, chosen] + 2 * start * self._area
        return Proposed(of_move[likely], ends, slab.flips[:, chosen])

    def _pairs(self, stop: int, *, ended: bool) -> np.ndarray:
        """Detections that belong together, of the hyperedges that begin in the layers decided now."""
        hyperedges, start = self._predecoder.hyperedges, 2 * self._decided
        if hyperedges is None:
            return np.zeros((2, 0), dtype=np.int64)
        bits = np.zeros((min(2 * stop, self._added) - start + hyperedges.reach, self._area), dtype=np.uint8)
        for t in range(start, min(start + len(bits), self._added)):
            bits[t - start] = self._layers[t][0]
        return hyperedges.fired(bits, start=start, num_layers=self._added if ended else None)

    def _take(self, layer: int) -> ResidualLayer:
        cells = self._cells[layer]
        left = self._layers[layer][0, cells] ^ self._changes.pop(layer)[cells]
        return ResidualLayer(left, self._flips.pop(layer))

    def _forget(self, before: int) -> None:
        """Layers that neither the network nor a cluster looks at again."""
        for held in (self._layers, self._cells):
            for layer in [t for t in held if t < before]:
                del held[layer]
