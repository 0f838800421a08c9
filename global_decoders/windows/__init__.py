"""Windowed decoding: streams of any length, a few rounds at a time.

A window decodes some layers of detectors and commits fewer; what its committed edges flip beyond the
commit region (its artificial defects) is added to what later windows read: in `native/streams`. Every
component of the error model is committed by exactly one window, and windows with equal error models share
one graph.

    WindowedDecoder(inner=, commit=, buffer=, mode=)   a picklable sinter.Decoder
    LayeredDem.from_dem(dem)                           the DEM by layers, of any length
    WindowSizes, windows_of(num_layers, ...), Window   which layers each window decodes and commits
    cut(layers, window), WindowEdges, WindowDem        the DEM of one window
    inputs_of, seen_in, certain_in, window_places      what a window keeps of anything that flips detectors
    shortened(circuit_or_dem)                          fewer iterations of a long REPEAT block
    WindowGraph                                        the matching graph of a window as data
    WindowGraphs                                       graphs and their decoders, shared by equal windows
"""

from global_decoders.windows.cut import (
    CutKey,
    WindowDem,
    WindowEdges,
    WindowPlaces,
    certain_in,
    cut,
    cut_key,
    inputs_of,
    seen_in,
    window_places,
)
from global_decoders.windows.decoder import CompiledWindows, WindowedDecoder, check_windows
from global_decoders.windows.graph import INNER_DECODERS, WindowGraph
from global_decoders.windows.graphs import MOST_ERASED_BYTES, WindowGraphs
from global_decoders.windows.layers import Component, LayeredDem, LayerKind, Mechanism, layers_of
from global_decoders.windows.plan import (
    Mode,
    Window,
    WindowSizes,
    assert_committed_once,
    check_sizes,
    parallel_windows,
    sliding_windows,
    windows_of,
)
from global_decoders.windows.repeats import shortened

__all__ = [
    "INNER_DECODERS",
    "MOST_ERASED_BYTES",
    "CompiledWindows",
    "Component",
    "CutKey",
    "LayerKind",
    "LayeredDem",
    "Mechanism",
    "Mode",
    "Window",
    "WindowDem",
    "WindowEdges",
    "WindowGraph",
    "WindowGraphs",
    "WindowPlaces",
    "WindowSizes",
    "WindowedDecoder",
    "assert_committed_once",
    "certain_in",
    "check_sizes",
    "check_windows",
    "cut",
    "cut_key",
    "inputs_of",
    "layers_of",
    "parallel_windows",
    "seen_in",
    "shortened",
    "sliding_windows",
    "window_places",
    "windows_of",
]
