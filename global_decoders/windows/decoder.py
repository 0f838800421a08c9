"""Windowed decoding as a `sinter.Decoder`: every shot is a stream that is fed all at once.

Shape legend: S shots, N detectors of the experiment.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sinter
import stim

from _qecpipe import WindowBatch
from global_decoders.compiling import NormalFormDecoder
from global_decoders.packed_shots import checked_packed
from global_decoders.windows.graphs import WindowGraphs
from global_decoders.windows.layers import LayeredDem
from global_decoders.windows.plan import Mode, Window, WindowSizes, assert_committed_once
from qec import NormalForm

__all__ = ["CompiledWindows", "WindowedDecoder", "check_windows"]


@dataclass(frozen=True)
class WindowedDecoder(NormalFormDecoder):
    """Decodes any DEM with detector times in windows that commit `commit` layers each.

    Behind a network as any decoder: `PredecodedDecoder(WindowedDecoder(...))`, which a stream equals.

    Args:
        inner: 'pymatching' or 'pymatching-correlated'.
        commit: detector layers (rounds) that a window commits.
        buffer: layers of look-ahead; in parallel mode also of look-back, at least 1.
        mode: 'sliding', each window after the one before it; or 'parallel', independent windows
            every `commit + 2 * buffer` layers and then those between them.

    Raises:
        ValueError: unknown `inner` or `mode`, or a size that is too small.
    """

    inner: str = "pymatching"
    commit: int = 5
    buffer: int = 5
    mode: Mode = "sliding"

    def __post_init__(self) -> None:
        _ = self.sizes
        WindowGraphs(inner=self.inner)

    @property
    def sizes(self) -> WindowSizes:
        """How the windows are arranged."""
        return WindowSizes(self.commit, self.buffer, self.mode)

    @property
    def independent_edges(self) -> bool:
        """Whether edges count as independent, as in `PyMatchingDecoder`."""
        return self.inner == "pymatching"

    def compile_decoder_for_dem(self, *, dem: stim.DetectorErrorModel) -> CompiledWindows:
        """Cuts the windows and builds their graphs, warm; every component is committed exactly once.

        What always happens is known to each window, as in a stream.

        Raises:
            ValueError: a detector has no coordinates, a mechanism is not decomposed into edges, or
                a component spans more rounds than a window commits.
        """
        return self._compiled(LayeredDem.from_dem(dem, correlated=not self.independent_edges))

    def compile_normal_form(self, normal: NormalForm) -> CompiledWindows:
        """As `compile_decoder_for_dem`, for shots without what always happens."""
        return self._compiled(LayeredDem.from_dem(normal.exact_dem, correlated=not self.independent_edges))

    def _compiled(self, layers: LayeredDem) -> CompiledWindows:
        check_windows(layers, self.sizes)
        windows = [*self.sizes.windows(layers.num_layers)]
        return CompiledWindows(layers=layers, windows=windows, graphs=WindowGraphs(inner=self.inner))


def check_windows(layers: LayeredDem, sizes: WindowSizes) -> None:
    """Checks that windows of these sizes commit every component exactly once.

    Raises:
        ValueError: a component spans more layers than a window commits, or parallel windows would see
            each other's artificial defects.
    """
    if sizes.mode == "parallel" and sizes.buffer < layers.span:
        raise ValueError(
            f"buffer={sizes.buffer} rounds, but a component of this DEM spans {layers.span} rounds, so "
            f"parallel windows would touch each other; use buffer={layers.span} or more"
        )
    assert_committed_once(layers.footprints(), sizes.windows(layers.num_layers))


class CompiledWindows(sinter.CompiledDecoder):
    """Windows of one experiment with their graphs."""

    def __init__(self, *, layers: LayeredDem, windows: list[Window], graphs: WindowGraphs) -> None:
        self.windows = windows
        self.graphs = graphs
        self.num_observables = layers.num_observables
        places = layers.detector_places()
        self.num_detectors = len(places)
        self._batch = WindowBatch(
            starts=[window.start for window in windows],
            decoders=[graphs.decoder(layers, window) for window in windows],
            detectors=places,
            num_sites=len(layers.positions),
            num_observables=layers.num_observables,
            certain_observables=list(layers.certain_observables),
        )

    def decode_shots_bit_packed(self, *, bit_packed_detection_event_data: np.ndarray) -> np.ndarray:
        """uint8 (S, ceil(N/8)) -> uint8 (S, ceil(num_observables/8)), little-endian bits.

        Raises:
            ValueError: shots of another shape, or a syndrome that no set of edges explains.
        """
        packed = checked_packed(bit_packed_detection_event_data, num_detectors=self.num_detectors)
        return self._batch.decode(np.ascontiguousarray(packed))
