"""What is made of outputs: latencies from due times, backlog, and outputs that are missing or too many."""

from __future__ import annotations

import numpy as np
import pytest

from decoder_service.load import Answer, LoadPlan, LoadReport, ShotSet
from decoder_service.load.arrivals import Arrival, outputs_due
from decoder_service.session import StreamShape

ROWS = 5
FIRST = (Answer(False, 2, b"\0", b""), Answer(False, 5, b"\1", b""), Answer(True, 5, b"\1", b"\1"))
SECOND = (Answer(False, 5, b"\0", b""), Answer(True, 5, b"\0", b"\0"))
SHOTS = ShotSet(
    shape=StreamShape(layers=((4, 8),), final_bits=9, num_observables=1),
    rows=((b"\0",) * 5, (b"\1",) * 5),
    answers=(FIRST, SECOND),
    allowed=((2, 4, 4), (4, 4)),
    model="",
    weights="",
)
PLAN = LoadPlan(period_ns=1000, rows_per_shot=ROWS, shots=2)
"""Rows are due at 1000, 2000, ..., 10000; outputs are allowed by rows 2, 4, 4, 9, 9."""


def arrivals(late: int = 100) -> list[Arrival]:
    answers = [(0, 2, FIRST[0]), (0, 4, FIRST[1]), (0, 4, FIRST[2]), (1, 9, SECOND[0]), (1, 9, SECOND[1])]
    return [
        Arrival((row + 1) * 1000 + late, number, epoch, answer, 50, 0)
        for number, (epoch, row, answer) in enumerate(answers)
    ]


def report(found: list[Arrival], plan: LoadPlan = PLAN) -> LoadReport:
    return LoadReport.of(plan, SHOTS, [found], rows_sent=[plan.rows])


def test_a_run_without_faults() -> None:
    one = report(arrivals())
    assert one.complete
    assert one.sustained
    assert (one.commits.expected, one.commits.received, one.commits.faults) == (3, 3, 0)
    assert (one.results.expected, one.results.received, one.results.faults) == (2, 2, 0)
    assert one.latency("commit").tolist() == [100] * 3
    assert one.latency("result").tolist() == [100] * 2
    assert one.latency("service").tolist() == [50] * 5


def test_lost_doubled_and_wrong_outputs_are_told_apart() -> None:
    good = arrivals()
    assert (report(good[1:]).commits.lost, report(good[1:]).results.lost) == (1, 0)
    assert (report(good[:-1]).commits.lost, report(good[:-1]).results.lost) == (0, 1)
    doubled = report([*good, good[0]])
    assert (doubled.commits.doubled, doubled.commits.received, doubled.complete) == (1, 4, False)
    other = good[0]._replace(answer=good[0].answer._replace(frame=b"\1"))
    assert report([other, *good[1:]]).commits.wrong == 1
    extra = good[0]._replace(number=5)
    assert report([*good, extra]).commits.wrong == 1
    assert not report([good[0]._replace(flags=2), *good[1:]]).complete


def test_the_backlog_is_what_was_due_before_each_output() -> None:
    backlog = report(arrivals(late=2500)).backlog()
    # At 5500 five rows are due and none is answered; at 12500 all ten are, and five were answered.
    assert (backlog.most, backlog.end) == (5, 0)
    assert backlog.over_time == ((5.5e-6, 5), (7.5e-6, 4), (7.5e-6, 2), (12.5e-6, 5), (12.5e-6, 0))
    assert report(arrivals()[:3]).backlog().end == 5
    assert report([]).backlog().end == 10
    assert not report([]).sustained


def test_a_decoder_a_hundredth_too_slow_is_not_sustained() -> None:
    plan = LoadPlan(period_ns=10_000, rows_per_shot=ROWS, shots=4_000)

    def run(slower: float) -> LoadReport:
        found = []
        for epoch in range(plan.shots):
            for answer, row in zip(*((SHOTS.answers[epoch % 2], SHOTS.allowed[epoch % 2])), strict=True):
                at = round((epoch * ROWS + row + 1) * 10_000 * slower)
                found.append(Arrival(at, len(found), epoch, answer, 0, 0))
        return report(found, plan)

    assert run(1.0).sustained
    assert run(1.005).sustained
    late = run(1.02)
    assert late.complete
    assert not late.sustained
    assert late.backlog().most > 300


def test_outputs_of_a_shot_that_was_begun() -> None:
    assert [outputs_due(SHOTS, stream=0, rows=rows) for rows in (0, 2, 3, 4, 5, 9, 10, 13, 20)] == [
        0,
        0,
        1,
        1,
        3,
        3,
        5,
        6,
        10,
    ]
    assert outputs_due(SHOTS, stream=1, rows=5) == 2
    one = LoadReport.of(PLAN, SHOTS, [arrivals()[:1]], rows_sent=[3], overloaded=True)
    assert (one.commits.expected, one.commits.lost, one.complete) == (1, 0, False)


def test_the_file_has_what_the_command_line_promises() -> None:
    content = report(arrivals()).as_json()
    assert content["latency_us"]["commit"] == {"p50": 0.1, "p90": 0.1, "p99": 0.1, "p99.9": 0.1, "max": 0.1}
    assert content["commits"] == {"expected": 3, "received": 3, "lost": 0, "doubled": 0, "wrong": 0}
    assert content["backlog"]["end"] == 0
    assert content["backlog"]["bounded"] is True
    assert (content["period_us"], content["rounds"], content["streams"]) == (1.0, 10, 1)
    with pytest.raises(ValueError, match="no latencies of 'journal'"):
        report(arrivals()).latency("journal")


def test_latency_quantiles_are_values_that_occurred() -> None:
    found = [one._replace(time=one.time + late) for one, late in zip(arrivals(), range(5), strict=True)]
    assert set(report(found).as_json()["latency_us"]["commit"].values()) <= {0.1, 0.101, 0.103}
    assert np.all(report(found).streams[0].row == [2, 4, 4, 9, 9])
