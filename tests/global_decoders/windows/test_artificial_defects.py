"""Layers that arrive one by one give what all of them at once give: one implementation, fed in two ways."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from global_decoders.windows import (
    INNER_DECODERS,
    CompiledWindows,
    LayeredDem,
    Syndrome,
    WindowGraphs,
    WindowSizes,
    WindowStep,
)

ROUNDS = 14


@pytest.fixture(scope="module", params=INNER_DECODERS)
def parts(memory, request) -> tuple[LayeredDem, WindowGraphs]:
    dem = memory(distance=3, rounds=ROUNDS, p=0.02)
    return LayeredDem.from_dem(dem), WindowGraphs(inner=request.param)


@settings(max_examples=30, deadline=None)
@given(
    commit=st.integers(1, 5),
    buffer=st.integers(0, 5),
    mode=st.sampled_from(["sliding", "parallel"]),
    shots=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_batch_is_a_stream_that_is_fed_all_at_once(parts, commit, buffer, mode, shots, seed) -> None:
    layers, graphs = parts
    sizes = WindowSizes(commit, max(buffer, int(mode == "parallel")), mode)
    windows = list(sizes.windows(layers.num_layers))
    random = np.random.default_rng(seed)
    bits = (random.random((shots, len(layers.detector_order()))) < 0.1).astype(np.uint8)
    batch = CompiledWindows(layers=layers, windows=windows, graphs=graphs).decode_shots_bit_packed(
        bit_packed_detection_event_data=np.packbits(bits, axis=1, bitorder="little")
    )
    syndrome, flips = Syndrome.empty(shots), np.zeros((shots, layers.num_observables), dtype=np.uint8)
    start = 0
    for layer in range(layers.num_layers):
        stop = start + len(layers.kind(layer).sites)
        syndrome.add(bits[:, start:stop], layers.kind(layer))
        start = stop
        while windows and windows[0].stop <= layer + 1:
            window = windows.pop(0)
            matcher = graphs.matcher(layers, window)
            flips ^= syndrome.commit(WindowStep.of(matcher, [syndrome.columns.of(window, matcher.places)]))
            # What no later window reads may be forgotten, and artificial defects are not lost with it.
            syndrome.forget(min((w.start for w in windows), default=0))
    assert not windows
    assert np.array_equal(batch, np.packbits(flips, axis=1, bitorder="little"))
