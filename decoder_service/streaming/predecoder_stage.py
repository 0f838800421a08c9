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
    from predecoder import ResidualStream, StreamPredecoder

__all__ = ["PredecoderStage"]


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
            bundle.removal_network,
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
