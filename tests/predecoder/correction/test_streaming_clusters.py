"""A batch is a stream that is fed all at once: the same clusters are committed, and each once."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from predecoder.correction import ThresholdPolicy
from predecoder.correction.clusters import Proposed, StreamingClusters

AREA, LAYERS = 4, 12

_nodes = st.integers(0, AREA * LAYERS - 1)
_moves = st.lists(
    st.tuples(_nodes, st.integers(0, 2 * AREA), st.sampled_from([-1.0, 0.5, 2.0, 4.0])), max_size=30
)
_pairs = st.lists(st.tuples(_nodes, st.integers(0, 2 * AREA)), max_size=6)
_policies = st.builds(
    ThresholdPolicy,
    propose=st.just(-2.0),
    commit=st.sampled_from([-2.0, 0.0, 1.0, 3.0]),
    residual=st.sampled_from(["any", "empty"]),
)


def _arrays(moves, pairs) -> tuple[Proposed, np.ndarray]:
    """Ends at most two layers apart; a partner past the last detector is none."""
    last = AREA * LAYERS - 1
    first = np.array([a for a, _, _ in moves], dtype=np.int64)
    second = np.array([min(a + step, last) for a, step, _ in moves], dtype=np.int64)
    logits = np.array([logit for _, _, logit in moves], dtype=np.float64)
    both = np.array([[a, min(a + step, last)] for a, step in pairs], dtype=np.int64).reshape(-1, 2).T
    return Proposed(logits, np.stack([first, second]), np.arange(len(moves))), both


@given(
    moves=_moves,
    pairs=_pairs,
    policy=_policies,
    fired=st.lists(st.booleans(), min_size=AREA * LAYERS, max_size=AREA * LAYERS),
    cuts=st.lists(st.integers(1, LAYERS - 1), max_size=5),
)
def test_fed_in_parts_it_commits_the_same(moves, pairs, policy, fired, cuts):
    proposed, joined = _arrays(moves, pairs)
    bits = np.array(fired, dtype=np.uint8)
    bits[joined] = 1  # only detections are joined

    def seen(nodes: np.ndarray) -> np.ndarray:
        return bits[nodes]

    clusters = StreamingClusters(policy, longest_wait=AREA * LAYERS)
    whole, frontier = clusters.finalize(proposed, joined, fired=seen)
    assert frontier is None
    clusters = StreamingClusters(policy, longest_wait=AREA * LAYERS)
    committed, given_back, begin = [], 0, 0
    for limit in [*(AREA * cut for cut in sorted(set(cuts))), None]:
        stop = AREA * LAYERS if limit is None else limit
        # What begins before the limit is known by then; nothing that comes later may touch it.
        now, of_pairs = (((first >= begin) & (first < stop)) for first in (proposed.ends[0], joined[0]))
        got, frontier = clusters.finalize(proposed.where(now), joined[:, of_pairs], fired=seen, limit=limit)
        # No detector is changed after it was said to be final.
        assert got.ends.min(initial=AREA * LAYERS) >= given_back
        assert frontier is None or given_back <= frontier <= stop
        given_back = AREA * LAYERS if frontier is None else frontier
        committed += got.tags.tolist()
        begin = stop
    assert sorted(committed) == sorted(whole.tags.tolist())
