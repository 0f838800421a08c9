"""A table of answers changes none of them, however often its slots change hands."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from global_decoders.windows import syndrome_cache
from global_decoders.windows.syndrome_cache import SyndromeCache


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(1, 16),
    slots_log2=st.sampled_from([1, 3, 14]),
    distinct=st.integers(1, 40),
)
def test_answers_are_those_of_the_decoder(seed: int, size: int, slots_log2: int, distinct: int) -> None:
    random = np.random.default_rng(seed)
    projection = random.integers(0, 2, (8 * size, 5), dtype=np.uint8)
    offset = random.integers(0, 2, 5, dtype=np.uint8)

    def decode(packed: np.ndarray) -> np.ndarray:
        """A random affine map, not zero at zero."""
        bits = np.unpackbits(packed, axis=1, bitorder="little")
        return (bits @ projection % 2 ^ offset).astype(np.uint8)

    known = random.integers(0, 256, (distinct, size), dtype=np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(syndrome_cache, "_SLOTS_LOG2", slots_log2)
        table = SyndromeCache(decode, size=size)
        for shots in (0, 1, 3, 50, 50):
            packed = known[random.integers(0, distinct, shots)]
            assert np.array_equal(table(packed), decode(packed))


def test_a_syndrome_is_decoded_once() -> None:
    asked = []

    def decode(packed: np.ndarray) -> np.ndarray:
        asked.append(len(packed))
        return packed[:, :1] & 1

    table = SyndromeCache(decode, size=2)
    shots = np.array([[1, 0], [2, 7], [1, 0], [0, 0]], dtype=np.uint8)
    for _ in range(3):
        table(shots)
    assert asked == [1, 2]  # no detections at all, then the two others
