"""Decisions by clusters against a plain graph search, and their defining properties."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from predecoder.correction import ClusterDecision, ThresholdPolicy


def _reference(model, logits: np.ndarray, detections: np.ndarray, policy: ThresholdPolicy) -> np.ndarray:
    """One shot by depth-first search over moves that share detectors."""
    columns = [set(model.moves.matrix[:, [k]].nonzero()[0].tolist()) for k in range(model.moves.num_moves)]
    value = logits.ravel()[model.moves.positions]
    joined = _joined(model, detections) if policy.clustering == "hyperedges" else []
    open_moves = {k for k in range(len(value)) if value[k] > policy.propose}
    committed = np.zeros(logits.shape, dtype=np.uint8)
    while open_moves:
        cluster, frontier = set(), [open_moves.pop()]
        touched = set()
        while frontier:
            k = frontier.pop()
            cluster.add(k)
            touched |= columns[k]
            for hyperedge in joined:
                if hyperedge & touched:
                    touched |= hyperedge
            linked = {m for m in open_moves if columns[m] & touched}
            open_moves -= linked
            frontier += linked
        left = set()
        for k in cluster:
            left ^= columns[k]
        left ^= {d for d in touched if detections[d]}
        sure = min(value[k] for k in cluster) >= policy.commit
        if sure and (policy.residual == "any" or not left):
            committed.ravel()[model.moves.positions[list(cluster)]] = 1
    return committed


def _joined(model, detections: np.ndarray) -> list[set[int]]:
    """Detections of the mechanisms of both types that lack at most one, overlapping ones joined."""
    tables, kind = model.problem.tables, model.layout.voxels[:, 1:].sum(axis=1) % 2
    joined: list[set[int]] = []
    for k in range(tables.num_mechanisms):
        flipped = set(tables.detectors[:, [k]].nonzero()[0].tolist())
        fired = {d for d in flipped if detections[d]}
        if len({kind[d] for d in flipped}) == 2 and len(fired) >= max(2, len(flipped) - 1):
            overlapping = [s for s in joined if s & fired]
            joined = [s for s in joined if not s & fired] + [fired.union(*overlapping)]
    return joined


@given(
    seed=st.integers(0, 2**32 - 1),
    commit=st.sampled_from([0.0, 0.3, 1.0]),
    residual=st.sampled_from(["any", "empty"]),
    shift=st.sampled_from([-2.5, -1.5]),
    clustering=st.sampled_from(["moves", "hyperedges"]),
)
def test_clusters_stand_or_fall_together(model, seed, commit, residual, shift, clustering):
    m = model(3, 3)
    rng = np.random.default_rng(seed)
    logits = rng.normal(shift, 1.5, (3, 3, *m.layout.shape))
    detections = rng.integers(0, 2, (3, m.layout.num_detectors), dtype=np.uint8)
    policy = ThresholdPolicy(commit=commit, residual=residual, clustering=clustering)  # pyright: ignore[reportArgumentType]
    decision = ClusterDecision(m.problem, policy)
    rows = logits.reshape(3, -1)[:, m.moves.positions]
    got = decision(rows, np.packbits(detections, axis=1, bitorder="little"))
    expected = [
        _reference(m, x, s, policy).ravel()[m.moves.positions]
        for x, s in zip(logits, detections, strict=True)
    ]
    assert np.array_equal(got, expected)


def test_true_corrections_leave_nothing_and_are_all_committed(model):
    """Logits that know a full correction pass the strictest rule whole."""
    from predecoder.training.labels import TeacherLabels

    m = model(5, 5)
    packed, labels, _ = TeacherLabels(m.problem).sample(50, seed=2)
    strict = ClusterDecision(m.problem, ThresholdPolicy(commit=9.0, residual="empty"))
    assert np.array_equal(strict(np.where(labels, 9.0, -9.0), packed), labels)


def test_a_y_error_is_explained_whole_or_left_whole(model):
    """Moves that explain one type's half of a mechanism are not committed when the other half stays."""
    m = model(5, 5)
    tables = m.problem.tables
    kind = m.layout.voxels[:, 1:].sum(axis=1) % 2
    weight = np.diff(tables.detectors.indptr)
    mixed = next(
        k
        for k in range(tables.num_mechanisms)
        if weight[k] == 4 and kind[tables.detectors[:, [k]].nonzero()[0]].sum() == 2
    )
    fired = tables.detectors[:, [mixed]].nonzero()[0]
    detections = np.zeros((1, m.layout.num_detectors), dtype=np.uint8)
    detections[0, fired] = 1
    chain = m.moves.of_mechanisms(tables)[:, [mixed]].nonzero()[0]
    half = [k for k in chain if kind[m.moves.matrix[:, [k]].nonzero()[0]].any()]
    committed = {}
    for name, proposed in (("half", half), ("whole", chain)):
        logits = np.full((1, m.moves.num_moves), -9.0)
        logits[:, proposed] = 9.0
        for clustering in ("moves", "hyperedges"):
            policy = ThresholdPolicy(residual="empty", clustering=clustering)  # pyright: ignore[reportArgumentType]
            decision = ClusterDecision(m.problem, policy)
            packed = np.packbits(detections, axis=1, bitorder="little")
            committed[name, clustering] = int(decision(logits, packed).sum())
    assert committed == {
        ("half", "moves"): len(half),
        ("half", "hyperedges"): 0,
        ("whole", "moves"): len(chain),
        ("whole", "hyperedges"): len(chain),
    }
