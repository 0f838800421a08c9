"""Windows of whole shots are those of the rules in words, whatever their sizes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from global_decoders.windows import INNER_DECODERS, CompiledWindows, LayeredDem, WindowGraphs, WindowSizes

ROUNDS = 14


@pytest.fixture(scope="module", params=INNER_DECODERS)
def parts(memory, request) -> tuple[LayeredDem, WindowGraphs]:
    dem = memory(distance=3, rounds=ROUNDS, p=0.02)
    return LayeredDem.from_dem(dem, correlated=INNER_DECODERS[request.param]), WindowGraphs(
        inner=request.param
    )


@settings(max_examples=25, deadline=None)
@given(
    commit=st.integers(1, 5),
    buffer=st.integers(0, 5),
    mode=st.sampled_from(["sliding", "parallel"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_whole_shots_equal_the_reference(parts, reference, commit, buffer, mode, seed) -> None:
    """But for ties, which a window may break otherwise: of each 40 shots, a few at most."""
    layers, graphs = parts
    sizes = WindowSizes(commit, max(buffer, int(mode == "parallel")), mode)
    windows = list(sizes.windows(layers.num_layers))
    bits = (np.random.default_rng(seed).random((40, len(layers.detector_order()))) < 0.03).astype(np.uint8)
    by_number = np.empty_like(bits)
    by_number[:, layers.detector_order()] = bits
    found = CompiledWindows(layers=layers, windows=windows, graphs=graphs).decode_shots_bit_packed(
        bit_packed_detection_event_data=np.packbits(by_number, axis=1, bitorder="little")
    )
    known = reference(layers, windows, correlated=INNER_DECODERS[graphs.inner])
    expected = [known.frames(shot)[-1] for shot in bits]
    assert (found == np.packbits(expected, axis=1, bitorder="little")).mean() >= 0.8
