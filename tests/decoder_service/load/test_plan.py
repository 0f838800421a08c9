"""When rounds are due, and which are sent together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoder_service.load import LoadPlan

PLANS = st.builds(
    LoadPlan,
    period_ns=st.floats(1, 1e6),
    rows_per_shot=st.integers(2, 30),
    shots=st.integers(1, 5),
    rounds_per_block=st.integers(1, 40),
    streams=st.integers(1, 4),
)


@given(PLANS)
def test_blocks_hold_every_row_once_in_order(plan: LoadPlan) -> None:
    blocks = plan.blocks
    for stream in range(plan.streams):
        own = blocks.stream == stream
        rows = [
            (epoch, row)
            for epoch, first, count in zip(
                blocks.epoch[own], blocks.first[own], blocks.count[own], strict=True
            )
            for row in range(first, first + count)
        ]
        assert rows == [(epoch, row) for epoch in range(plan.shots) for row in range(plan.rows_per_shot)]
    assert (blocks.count <= plan.rounds_per_block).all()
    assert (np.diff(blocks.due) >= 0).all()


@given(PLANS)
def test_a_block_is_due_with_its_last_row(plan: LoadPlan) -> None:
    blocks = plan.blocks
    last = blocks.epoch * plan.rows_per_shot + blocks.first + blocks.count - 1
    assert (blocks.due == plan.due(blocks.stream, last)).all()
    late = plan.period_ns * plan.rounds_per_block / plan.streams * (plan.streams - 1)
    assert blocks.due[-1] <= plan.rows * plan.period_ns + late + 1


def test_streams_are_staggered_evenly() -> None:
    plan = LoadPlan(period_ns=1000, rows_per_shot=10, shots=2, rounds_per_block=5, streams=4)
    assert (np.diff(plan.blocks.due) == 1250).all()
    assert plan.blocks.stream[:5].tolist() == [0, 1, 2, 3, 0]


def test_rows_due_counts_those_of_all_streams() -> None:
    plan = LoadPlan(period_ns=1000, rows_per_shot=3, shots=1, streams=2)
    assert plan.rows_due(np.array([0, 999, 1000, 1499, 1500, 2600, 9000])).tolist() == [0, 0, 1, 1, 2, 4, 6]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("period_ns", 0, "the period is 0 ns"),
        ("period_ns", float("nan"), "the period is nan ns"),
        ("rows_per_shot", 1, "a shot of 1 rows"),
        ("streams", 0, "streams is 0"),
        ("rounds_per_block", 0, "rounds_per_block is 0"),
    ],
)
def test_a_plan_that_sends_nothing_is_refused(field: str, value: float, message: str) -> None:
    fields = {"period_ns": 1.0, "rows_per_shot": 2, "shots": 1, field: value}
    with pytest.raises(ValueError, match=message):
        LoadPlan(**fields)  # pyright: ignore[reportArgumentType]
