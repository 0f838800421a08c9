"""The pre-decoder stage of a stream, before its windows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import stim

from global_decoders.windows import LayeredDem, WindowGraphs, shortened
from predecoder import Bundle, PolicyName, check_fits, load_bundle, stream_policy
from qec import DecodingProblem

if TYPE_CHECKING:
    from _qecpipe import Stream
    from predecoder import StreamPredecoder

__all__ = ["PredecoderStage", "StagedShot"]


@dataclass(frozen=True, eq=False)
class PredecoderStage:
    """A network with what it needs to know of the experiment.

    Attributes:
        predecoder: shared by all shots.
        bundle: the network and its policies.
        policy: commits moves; None where windows are matched on the logits.
        device: where the network runs.
    """

    predecoder: StreamPredecoder
    bundle: Bundle
    policy: PolicyName | None
    device: str

    @classmethod
    def load(
        cls,
        weights: str | Path,
        dem: stim.DetectorErrorModel,
        *,
        layers: LayeredDem,
        tile: int,
        policy: PolicyName | None,
        device: str = "auto",
    ) -> PredecoderStage:
        """Reads weights and the layout of `dem`, whose layers are `layers`.

        Args:
            weights: shipped name or path.
            dem: of the experiment.
            layers: read from it.
            tile: blocks of 2 layers that go through a network in torch at a time.
            policy: commits moves; see `predecoder.automatic_policy`. None where windows are matched on the
                logits.
            device: see `predecoder.StreamPredecoder`.

        Raises:
            WeightsError, LayoutError: as `PredecodedDecoder` does; both are ValueErrors.
        """
        return cls._of(load_bundle(weights), dem, layers=layers, tile=tile, policy=policy, device=device)

    def with_dem(self, dem: stim.DetectorErrorModel, layers: LayeredDem) -> PredecoderStage:
        """The same network with the noise features, and the thresholds, of another DEM."""
        tile = self.predecoder.tile
        return self._of(self.bundle, dem, layers=layers, tile=tile, policy=self.policy, device=self.device)

    @classmethod
    def _of(
        cls,
        bundle: Bundle,
        dem: stim.DetectorErrorModel,
        *,
        layers: LayeredDem,
        tile: int,
        policy: PolicyName | None,
        device: str,
    ) -> PredecoderStage:
        from predecoder import StreamPredecoder

        # The layers were read from the shortened DEM wherever that stands for the long one.
        if sum(len(detectors) for detectors in layers.source_detectors) != dem.num_detectors:
            dem = shortened(dem)
        problem = DecodingProblem.from_dem(dem)
        policies = bundle.policies
        check_fits(problem, even_sides=policies.even_sides, without_reset=policies.without_reset)
        predecoder = StreamPredecoder(
            problem,
            bundle.network if policy is None else bundle.removal_network,
            policy=None if policy is None else stream_policy(bundle.policies, policy, problem),
            layers=layers,
            device=device,
            tile=tile,
            min_rounds=bundle.policies.min_rounds,
        )
        return cls(predecoder, bundle, policy, device)

    @property
    def sha256(self) -> str:
        """Of the weights."""
        return self.bundle.file.sha256

    def graphs(self) -> WindowGraphs:
        """The graphs of windows that are matched on the logits."""
        return self.predecoder.move_graphs()

    def warm(self) -> None:
        """Runs the network on a shot without detections, as long as the experiment that was read."""
        logits, cells = self.predecoder.begin_logits(), self.predecoder.sites.cells
        for layer, where in enumerate(cells):
            logits.add(where[:0], where, last=layer == len(cells) - 1)


class StagedShot:
    """The logits of one shot, for a stream without a network of its own."""

    def __init__(self, stage: PredecoderStage, layers: LayeredDem) -> None:
        self._sites, self._layers = stage.predecoder.sites, layers
        self._logits = stage.predecoder.begin_logits()
        self._pushed = 0

    def logits(self, stream: Stream, *, num_layers: int | None) -> np.ndarray:
        """Logits of the layers that become known by the one that a stream took last.

        Returns float32 (layers, places).

        Args:
            num_layers: of the experiment, if that layer is its last.
        """
        layers = self._layers.endless if num_layers is None else self._layers.with_layers(num_layers)
        cells = self._sites.cells[layers.source_layer(self._pushed)[0]]
        self._pushed += 1
        row = np.unpackbits(np.frombuffer(stream.detections, dtype=np.uint8), bitorder="little")
        fired = cells[row[self._sites.of_cell[cells]] > 0]
        return self._logits.add(fired, cells, last=num_layers is not None)
