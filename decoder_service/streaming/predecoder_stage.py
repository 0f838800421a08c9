"""The pre-decoder stage of a stream, before its windows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import stim

from global_decoders.windows import LayeredDem, shortened
from predecoder import PolicyName, check_sides, load_bundle, stream_policy
from qec import DecodingProblem

if TYPE_CHECKING:
    from _qecpipe import Stream
    from predecoder import ResidualStream, StreamPredecoder

__all__ = ["PredecoderStage", "StagedShot"]


@dataclass(frozen=True, eq=False)
class PredecoderStage:
    """A network with the places of every layer's detectors.

    Attributes:
        predecoder: shared by all shots.
        sha256: of the weights.
    """

    predecoder: StreamPredecoder
    sha256: str
    _cells: tuple[np.ndarray, ...]

    @classmethod
    def load(
        cls,
        weights: str | Path,
        dem: stim.DetectorErrorModel,
        *,
        layers: LayeredDem,
        tile: int,
        policy: PolicyName,
        device: str = "auto",
    ) -> PredecoderStage:
        """Reads weights and the layout of `dem`, whose layers are `layers`.

        Args:
            weights: shipped name or path.
            dem: of the experiment.
            layers: read from it.
            tile: blocks of 2 layers that go through the network at a time.
            policy: commits moves; see `predecoder.automatic_policy`.
            device: 'auto', 'cpu' or 'cuda'.

        Raises:
            WeightsError, LayoutError: as `PredecodedDecoder` does; both are ValueErrors.
        """
        from predecoder import StreamPredecoder

        # The layers were read from the shortened DEM wherever that stands for the long one.
        if sum(len(detectors) for detectors in layers.source_detectors) != dem.num_detectors:
            dem = shortened(dem)
        problem = DecodingProblem.from_dem(dem)
        layout = problem.layout
        flat = layout.flat_voxels % int(np.prod(layout.shape[1:]))
        bundle = load_bundle(weights)
        check_sides(layout, even_sides=bundle.policies.even_sides)
        predecoder = StreamPredecoder(
            problem,
            bundle.network,
            policy=stream_policy(bundle.policies, policy, problem),
            layers=layers,
            device=device,
            tile=tile,
            min_rounds=bundle.policies.min_rounds,
        )
        return cls(
            predecoder, bundle.file.sha256, tuple(flat[detectors] for detectors in layers.source_detectors)
        )

    def begin(self) -> ResidualStream:
        """A new shot."""
        return self.predecoder.begin()

    def cells(self, layer: int, layers: LayeredDem) -> np.ndarray:
        """int64 (detectors of the layer,): their places in the flattened ancilla grid."""
        return self._cells[layers.source_layer(layer)[0]]

    def warm(self) -> None:
        """Runs the network on a shot without detections, as long as the experiment that was read."""
        stream = self.begin()
        for cells in self._cells[:-1]:
            stream.add(np.zeros(len(cells), dtype=np.uint8), cells)
        stream.end(np.zeros(len(self._cells[-1]), dtype=np.uint8), self._cells[-1])


class StagedShot:
    """One shot between rounds and windows: layers that were handed off come back as their residual."""

    def __init__(self, stage: PredecoderStage, layers: LayeredDem) -> None:
        self._stage, self._layers, self._stream = stage, layers, stage.begin()
        self._pushed = self._received = 0
        self._certain: dict[int, np.ndarray] = {}
        """By layer, detections of what always happens, which the pre-decoder does not see."""

    def give(self, stream: Stream, *, num_layers: int | None) -> None:
        """Takes the layer that a stream has handed off, and gives it the layers that this completes.

        Args:
            stream: with a stage in front of its windows.
            num_layers: of the experiment, if that layer is its last.
        """
        layer, self._pushed = self._pushed, self._pushed + 1
        layers = self._layers.endless if num_layers is None else self._layers.with_layers(num_layers)
        row = np.unpackbits(np.frombuffer(stream.handed_off, dtype=np.uint8), bitorder="little")
        certain = self._certain[layer] = layers.certain_flips(layer)
        bits = row[list(layers.kind(layer).sites)] ^ certain
        cells = self._stage.cells(layer, layers)
        for done in (self._stream.add if num_layers is None else self._stream.end)(bits, cells):
            # Windows are given what always happens, too: each model has its own.
            left = np.zeros(len(row), dtype=np.uint8)
            left[list(layers.kind(self._received).sites)] = done.bits ^ self._certain.pop(self._received)
            flips = np.zeros(-(-len(done.flips) // 64) * 64, dtype=np.uint8)
            flips[: len(done.flips)] = done.flips
            stream.receive(*(np.packbits(row, bitorder="little") for row in (left, flips)))
            self._received += 1
