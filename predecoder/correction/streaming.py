"""The pre-decoder on a stream: layers of detections in, layers of the residual out.

Every move is decided once, when nothing still to come can change the decision: in C++
(`native/streams/stage.h`), where clusters are judged when they are complete. Separable networks on a CPU run
there as well, layer by layer, every layer once (`stream_network`); others run here, in torch, on a fixed grid
of tiles in time, each with the layers that its output depends on (`halo_blocks`). The logits are those of
whole shots: on a CPU the same bits, as long as both are from C++ or both from torch.

Shape legend: (I, J) the ancilla grid, t blocks of 2 layers, O observables.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from _qecpipe import LayerStream, Stage, StageTables, StreamFront, detection_bits, logit_numbers
from global_decoders.windows import LayeredDem, WindowGraphs
from predecoder.applicability import ShortExperimentWarning, short_experiment, warn_caller
from predecoder.blocking import block, unblock
from predecoder.correction.hyperedges import StreamHyperedges
from predecoder.correction.move_windows import move_graphs
from predecoder.correction.policies import ThresholdPolicy
from predecoder.correction.stage_tables import Sites, stage_tables
from predecoder.correction.stream_layers import StreamLayers
from predecoder.correction.stream_network import stream_network
from predecoder.correction.stream_noise_features import StreamNoiseFeatures
from predecoder.inference import (
    LayerNetwork,
    Precision,
    PrecisionChoice,
    TileEngine,
    choose_precision,
    cuda_drivers,
)
from qec import DecodingProblem, DetectorLayout

if TYPE_CHECKING:
    import torch

    from predecoder.network import Network

__all__ = ["LayerLogits", "ResidualLayer", "ResidualStream", "StreamPredecoder", "TileLogits"]


@dataclass(frozen=True, eq=False)
class ResidualLayer:
    """A layer that the pre-decoder is done with.

    Attributes:
        bits: uint8 0/1 (detectors of the layer,): what is left of the syndrome.
        flips: uint8 0/1 (O,): of the observables, by the committed moves of this layer.
    """

    bits: np.ndarray
    flips: np.ndarray


class StreamPredecoder:
    """A network on one patch, shared by all shots of a stream.

    Args:
        problem: an experiment of any number of rounds on this patch.
        network: proposes the moves.
        policy: commits them (`stream_policy`); None where windows are matched on the logits.
        layers: of the problem's DEM.
        device: where the network runs: see `select_device`, but that 'auto' is the CPU for networks that run
            in C++ there, faster than one shot does on a GPU.
        precision: of the network; see `choose_precision`.
        tile: blocks of 2 layers that torch computes at a time; more of them cost fewer repeated
            layers and more waiting.
        min_rounds: of the shortest experiment that the network is used for. Nothing is committed before an
            experiment is known to be as long; the first that is shorter is told by a
            `ShortExperimentWarning`.

    Attributes:
        sites: of the detectors in the grid.
        tables: what `_qecpipe.Stage` and streams in C++ know of the experiment.

    Raises:
        ValueError: a tile of nothing, a precision that streams do not have, a detector that never fires, or
            layers of another DEM.
    """

    def __init__(
        self,
        problem: DecodingProblem,
        network: Network,
        *,
        policy: ThresholdPolicy | None,
        layers: LayeredDem,
        device: str | torch.device = "auto",
        precision: PrecisionChoice = "auto",
        tile: int = 2,
        min_rounds: int = 1,
    ) -> None:
        from predecoder.inference import NativeEngine, halo_blocks, select_device

        if tile < 1:
            raise ValueError(f"tile={tile} blocks: a tile has at least 1")
        if device == "auto" and NativeEngine.runs(network, precision):
            device = "cpu"
        self._device = select_device(device) if isinstance(device, str) else device
        self.precision: Precision = choose_precision(
            precision, int8=network.int8, device_type=self._device.type
        )
        layout = problem.layout
        _check_every_detector_fires(layout)
        self.layout, self.tile, self.min_rounds = layout, tile, min_rounds
        self._layers = layers
        stream_layers = StreamLayers(layout, layers)
        joins = policy is not None and policy.clustering == "hyperedges" and not policy.commits_all
        hyperedges = StreamHyperedges(problem, stream_layers) if joins else None
        self.halo = halo_blocks(network)[0]
        """Blocks on either side of a tile that its output depends on."""
        self._features, unlike = None, 0
        if network.config.noise_conditioned:
            # Noise features of the halo must be those of any experiment that goes on.
            self._features = StreamNoiseFeatures(problem, stream_layers)
            unlike = max(0, stream_layers.ending - 1)
        self.ahead = self.halo + -(-unlike // 2)
        """Blocks after a tile that must be there before it is decided."""
        self._network, self._warned = network, False
        self._tiles: TileEngine | None = None
        if self._device.type == "cuda":
            self._tiles = TileEngine(network, cuda_drivers(self._device)[0], precision=self.precision)
        self._lookahead = 0 if hyperedges is None else hyperedges.lookahead
        self._problem, self.sites = problem, Sites(problem, layers)
        self.layer_network = self._layer_network()
        """The network in C++, if it can run there."""
        self._numbers = np.arange(3 * len(self.sites.of_cell))
        layer_size = len(self._numbers)
        if self.layer_network is not None:
            self._numbers = logit_numbers(*(n // 2 for n in layout.shape[1:])).ravel()
            layer_size = self.layer_network.begin().layer_size
        self.tables: StageTables = stage_tables(
            problem,
            layers,
            sites=self.sites,
            policy=policy,
            hyperedges=hyperedges,
            numbers=self._numbers,
            layer_size=layer_size,
            min_rounds=min_rounds,
        )

    def _layer_network(self) -> LayerNetwork | None:
        from predecoder.inference import NativeEngine

        precision = self.precision
        if (
            self._device.type != "cpu"
            or precision in ("bfloat16", "float16")
            or not NativeEngine.runs(self._network, precision)
        ):
            if precision == "int8":
                raise ValueError("precision='int8' needs a processor; use device='cpu', or 'float32'")
            return None
        return stream_network(self._problem, self._network, layers=self._layers, precision=precision)

    @cached_property
    def front(self) -> StreamFront:
        """This network and its policy, as streams in C++ have them before their windows."""
        if self.layer_network is None:
            return StreamFront(self.tables)
        rows, columns = (n // 2 for n in self.layout.shape[1:])
        cell_of_site = np.zeros(self.tables.num_sites, dtype=np.int64)
        cells = np.flatnonzero(self.sites.of_cell >= 0)
        cell_of_site[self.sites.of_cell[cells]] = cells
        return StreamFront(
            self.tables,
            network=self.layer_network.network,
            timeline=self.layer_network.timeline,
            bits=detection_bits(rows, columns).ravel()[cell_of_site].tolist(),
        )

    def move_graphs(self) -> WindowGraphs:
        """The graphs of windows that are matched on these logits."""
        return move_graphs(
            self._problem,
            self._layers,
            sites=self.sites,
            numbers=self._numbers,
            layer_size=self.tables.layer_size,
        )

    @property
    def device(self) -> str:
        """Where the network runs."""
        return str(self._device)

    @property
    def latency(self) -> int:
        """Layers that must follow a layer before its residual can be known, where no cluster is open."""
        if self.layer_network is not None:
            return max(self.layer_network.delay + 1, self._lookahead, self.min_rounds)
        return max(2 * (self.ahead + self.tile), self._lookahead, self.min_rounds)

    def begin(self) -> ResidualStream:
        """A new shot."""
        return ResidualStream(self)

    def begin_logits(self) -> TileLogits | LayerLogits:
        """The logits of a new shot."""
        if self.layer_network is not None:
            return LayerLogits(self, self.layer_network.begin(), self._numbers)
        return TileLogits(self)

    def logits(self, grid: np.ndarray, *, start: int, num_layers: int | None) -> np.ndarray:
        """Of every move: uint8 0/1 (2, 2 t, I, J), detections and presence -> float32 (3, 2 t, I, J).

        Args:
            grid: of consecutive layers.
            start: the first one.
            num_layers: of the experiment; None where it goes on.
        """
        from predecoder.inference import running

        features = None
        if self._features is not None:
            features = self._features.of(start, start + grid.shape[1], num_layers=num_layers)
        if self._tiles is not None:
            return self._tiles(grid, features)
        work = self._network.config.macs_per_block * grid[0].size / 8
        with running(self._device, self.precision, work=work):
            blocked_features = None if features is None else self._blocked(features)
            logits = self._network(self._blocked(grid), blocked_features)
        return unblock(logits.permute(0, 2, 3, 4, 1).float().cpu().numpy())[0]

    def _blocked(self, grid: np.ndarray) -> torch.Tensor:
        import torch

        blocked = torch.from_numpy(block(grid[None]).astype(np.float32))
        return blocked.permute(0, 4, 1, 2, 3)

    def warn_of_short(self, num_layers: int) -> None:
        """Say, for the first shot only, that an experiment is too short for the network."""
        if not self._warned:
            self._warned = True
            warn_caller(short_experiment(num_layers - 1, self.min_rounds), ShortExperimentWarning)


class TileLogits:
    """The logits of one shot: layers are added one by one, and their logits follow, tile by tile."""

    def __init__(self, predecoder: StreamPredecoder) -> None:
        self._predecoder = predecoder
        self._area = len(predecoder.sites.of_cell)
        self._layers: dict[int, np.ndarray] = {}
        self._added = self._decided = 0

    def add(self, fired: np.ndarray, cells: np.ndarray, *, last: bool) -> np.ndarray:
        """Takes the next layer; float32 `(layers, 3 * I * J)`, the logits that it completes.

        Args:
            fired: int64: cells of the flattened (I, J) grid whose detectors fired.
            cells: int64 (detectors of the layer,): cells of all of them.
            last: the layer ends the experiment.
        """
        layer = self._layers[self._added] = np.zeros((2, self._area), dtype=np.uint8)
        layer[0, fired] = 1
        layer[1, cells] = 1
        self._added += 1
        predecoder, parts = self._predecoder, []
        if last:
            short = self._added - 1 < predecoder.min_rounds
            blocks = self._decided if short else -(-self._added // 2)
        else:
            blocks = max(self._decided, self._added // 2 - predecoder.ahead)
        while self._decided + (1 if last else predecoder.tile) <= blocks:
            parts.append(self._advance(min(self._decided + predecoder.tile, blocks), ended=last))
        return np.concatenate(parts) if parts else np.zeros((0, 3 * self._area), dtype=np.float32)

    def _advance(self, stop: int, *, ended: bool) -> np.ndarray:
        """The logits of the blocks up to `stop`."""
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
        self._decided = stop
        for t in [t for t in self._layers if t < 2 * max(0, stop - predecoder.halo)]:
            del self._layers[t]
        core = logits.reshape(3, -1, self._area)[:, 2 * (start - low) : min(2 * stop, self._added) - 2 * low]
        return np.ascontiguousarray(core.swapaxes(0, 1)).reshape(-1, 3 * self._area)


class LayerLogits:
    """The same from a network in C++, layer by layer."""

    def __init__(self, predecoder: StreamPredecoder, network: LayerStream, numbers: np.ndarray) -> None:
        self._shape, self._size = predecoder.layout.shape[1:], predecoder.tables.layer_size
        self._network, self._numbers = network, numbers
        self._area = len(predecoder.sites.of_cell)
        self._added = self._known = 0

    def add(self, fired: np.ndarray, cells: np.ndarray, *, last: bool) -> np.ndarray:
        """Takes the next layer; float32 `(layers, layer size)`, the logits that it completes.

        Args:
            fired, cells, last: see `TileLogits`; the network knows which cells have detectors.
        """
        del cells
        grid = np.zeros(self._area, dtype=np.uint8)
        grid[fired] = 1
        self._added += 1
        logits = self._network.push(grid.reshape(self._shape), last=last)
        count = min(logits.shape[1], self._added - self._known)
        self._known += count
        found = np.zeros((count, self._size), dtype=np.float32)
        found[:, self._numbers] = logits[:, :count].swapaxes(0, 1).reshape(count, len(self._numbers))
        return found


class ResidualStream:
    """One shot: layers are added one by one, and come back, in order, as soon as they are known."""

    def __init__(self, predecoder: StreamPredecoder) -> None:
        self._predecoder = predecoder
        self._logits = predecoder.begin_logits()
        self._stage = Stage(predecoder.tables)
        self._cells: dict[int, np.ndarray] = {}
        self._added = self._given = 0

    def add(self, bits: np.ndarray, cells: np.ndarray) -> list[ResidualLayer]:
        """The next layer; what it completes.

        Args:
            bits: uint8 0/1 (detectors of the layer,).
            cells: int64 (detectors of the layer,): where they stand in the flattened (I, J) grid.
        """
        return self._add(bits, cells, last=False)

    def end(self, bits: np.ndarray, cells: np.ndarray) -> list[ResidualLayer]:
        """The last layer; all that have not come back yet."""
        done = self._add(bits, cells, last=True)
        if self._stage.was_short:
            self._predecoder.warn_of_short(self._added)
        return done

    def _add(self, bits: np.ndarray, cells: np.ndarray, *, last: bool) -> list[ResidualLayer]:
        sites = self._predecoder.sites.of_cell
        row = np.zeros(64 * -(-(int(sites.max()) + 1) // 64), dtype=np.uint8)
        row[sites[cells]] = bits
        self._cells[self._added] = cells
        self._added += 1
        fired = np.unpackbits(
            np.frombuffer(self._stage.put(np.packbits(row, bitorder="little"), last), dtype=np.uint8),
            bitorder="little",
        )
        here = cells[fired[sites[cells]] > 0]
        done = []
        for left, flips in self._stage.give_logits(self._logits.add(here, cells, last=last)):
            where = sites[self._cells.pop(self._given)]
            self._given += 1
            observables = self._predecoder.layout.num_observables
            done.append(ResidualLayer(_bits(left)[where], _bits(flips)[:observables]))
        return done


def _bits(packed: bytes) -> np.ndarray:
    """uint8 0/1, LSB first."""
    return np.unpackbits(np.frombuffer(packed, dtype=np.uint8), bitorder="little")


def _check_every_detector_fires(layout: DetectorLayout) -> None:
    if layout.deterministic.any():
        raise ValueError(
            f"no mechanism flips detector D{int(np.argmax(layout.deterministic))} or others, "
            f"{int(layout.deterministic.sum())} in all; a stream needs noise in every round"
        )
