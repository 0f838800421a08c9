"""Chain decisions against a plain graph search, and their defining properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qec
from predecoder.decision import ChainDecision, DecisionConfig
from qec.dem_tables import DemTables


def _reference(model, logits: np.ndarray, detections: np.ndarray, config: DecisionConfig) -> np.ndarray:
    """One shot by depth-first search over moves that share detectors."""
    columns = [set(model.moves.matrix[:, [k]].nonzero()[0].tolist()) for k in range(model.moves.num_moves)]
    value = logits.ravel()[model.moves.positions]
    bound = _joined(model, detections) if config.bind == "mechanisms" else []
    open_moves = {k for k in range(len(value)) if value[k] > config.propose}
    committed = np.zeros(logits.shape, dtype=np.uint8)
    while open_moves:
        group, frontier = set(), [open_moves.pop()]
        touched = set()
        while frontier:
            k = frontier.pop()
            group.add(k)
            touched |= columns[k]
            for mechanism in bound:
                if mechanism & touched:
                    touched |= mechanism
            linked = {m for m in open_moves if columns[m] & touched}
            open_moves -= linked
            frontier += linked
        left = set()
        for k in group:
            left ^= columns[k]
        left ^= {d for d in touched if detections[d]}
        sure = min(value[k] for k in group) >= config.commit
        if sure and (config.residue == "any" or not left):
            committed.ravel()[model.moves.positions[list(group)]] = 1
    return committed


def _joined(model, detections: np.ndarray) -> list[set[int]]:
    """Detections of the mechanisms of both types that lack at most one, overlapping ones joined."""
    tables, kind = DemTables.from_dem(model.dem), model.layout.voxels[:, 1:].sum(axis=1) % 2
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
    residue=st.sampled_from(["any", "none"]),
    shift=st.sampled_from([-2.5, -1.5]),
    bind=st.sampled_from(["moves", "mechanisms"]),
)
def test_groups_stand_or_fall_together(model, seed, commit, residue, shift, bind):
    m = model(3, 3)
    rng = np.random.default_rng(seed)
    logits = rng.normal(shift, 1.5, (3, 3, *m.layout.shape))
    detections = rng.integers(0, 2, (3, m.layout.num_detectors), dtype=np.uint8)
    config = DecisionConfig(commit=commit, residue=residue, bind=bind)  # pyright: ignore[reportArgumentType]
    decision = ChainDecision(m.problem, config)
    rows = logits.reshape(3, -1)[:, m.moves.positions]
    got = decision(rows, np.packbits(detections, axis=1, bitorder="little"))
    expected = [
        _reference(m, x, s, config).ravel()[m.moves.positions]
        for x, s in zip(logits, detections, strict=True)
    ]
    assert np.array_equal(got, expected)


def test_true_corrections_leave_nothing_and_are_all_committed(model):
    """Logits that know a full correction pass the strictest rule whole."""
    from predecoder.training.labels import TeacherLabels

    m = model(5, 5)
    packed, labels, _ = TeacherLabels(m.problem).sample(50, seed=2)
    strict = ChainDecision(m.problem, DecisionConfig(commit=9.0, residue="none"))
    assert np.array_equal(strict(np.where(labels, 9.0, -9.0), packed), labels)


def test_rarer_detections_need_surer_groups(model):
    config = DecisionConfig(propose=-1.0, commit=2.0, sparser=3.0)
    circuits = [
        qec.memory_circuit(distance=5, rounds=5, basis="z", noise=qec.depolarizing(p)) for p in (0.006, 0.003)
    ]
    at = [config.at(qec.DecodingProblem.from_circuit(c).peak_density).commit for c in circuits]
    assert at == [2.0, 3.9]
    assert config.at(0.4).commit == -1.0  # never below what is proposed
    assert config.at(0.0).commit == 2.0


@pytest.mark.parametrize("kwargs", [{"residue": "some"}, {"commit": -1.0}, {"bind": "all"}])
def test_bad_decisions_are_named(kwargs):
    ((name, value),) = kwargs.items()
    with pytest.raises(ValueError, match=f"{name}={value!r}"):
        DecisionConfig(**kwargs)


def test_a_y_error_is_explained_whole_or_left_whole(model):
    """Moves that explain one type's half of a mechanism are not committed when the other half stays."""
    m = model(5, 5)
    tables = DemTables.from_dem(m.dem)
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
        for bind in ("moves", "mechanisms"):
            config = DecisionConfig(residue="none", bind=bind)  # pyright: ignore[reportArgumentType]
            decision = ChainDecision(m.problem, config)
            packed = np.packbits(detections, axis=1, bitorder="little")
            committed[name, bind] = int(decision(logits, packed).sum())
    assert committed == {
        ("half", "moves"): len(half),
        ("half", "mechanisms"): 0,
        ("whole", "moves"): len(chain),
        ("whole", "mechanisms"): len(chain),
    }
