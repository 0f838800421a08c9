"""Load on a service: frames prepared before the run, and read apart after it."""

from __future__ import annotations

import numpy as np
import pytest

from decoder_service.client import ServiceError
from decoder_service.load import LoadPlan, ShotSet, StreamOptions, run_service, sample_shots

OPTIONS = StreamOptions(commit=2, buffer=2)


@pytest.fixture(scope="module")
def shots(kit) -> ShotSet:
    return sample_shots(kit.circuit, OPTIONS, rows=160, seed=5)


@pytest.mark.parametrize(("streams", "block"), [(1, 1), (1, 4), (3, 8)])
def test_every_output_comes_once_and_says_what_decoding_here_does(
    streams: int, block: int, shots: ShotSet, serve, kit
) -> None:
    with serve().client() as client:
        opened = [client.open(kit.text, **OPTIONS.fields) for _ in range(streams)]
        plan = LoadPlan(period_ns=3e5, rows_per_shot=8, shots=25, rounds_per_block=block, streams=streams)
        for _ in range(2):  # streams go on where the load before left them
            report = run_service(client, opened, shots, plan=plan)
            assert report.complete
            assert report.results.received == 25 * streams
            assert (report.latency("service") > 0).all()
            assert report.backlog().end == 0
        assert [client.stats(stream).shots for stream in opened] == [50] * streams
        kit.push_all(client, opened[0], kit.sample(2, seed=1))
        assert sum(output.final for output in opened[0].outputs) == 2


def test_gaps_are_compared_and_reported(serve, kit) -> None:
    options = StreamOptions(commit=2, buffer=2, decoder="pymatching-correlated", gap=True)
    shots = sample_shots(kit.circuit, options, rows=160, seed=5)
    with serve().client() as client:
        plan = LoadPlan(period_ns=3e5, rows_per_shot=8, shots=25)
        report = run_service(client, [client.open(kit.text, **options.fields)], shots, plan=plan)
        assert report.complete
        gaps = report.as_json()["gaps_nats"]
        expected = np.array(
            [shots.answers[shots.index(0, epoch)][-1].gap for epoch in range(25)], dtype=float
        )
        assert gaps["results"] == 25
        assert gaps["min"] == pytest.approx(expected.min(), abs=1e-4)
        without = client.open(kit.text, **options.fields | {"gap": False})
        report = run_service(client, [without], shots, plan=plan)
        assert (report.results.wrong, report.commits.wrong) == (25, 0)
        assert report.as_json()["gaps_nats"] == {}


def test_rounds_wait_for_credit_and_their_wait_counts(shots: ShotSet, serve, kit) -> None:
    with serve(worker={"window": 8}).client() as client:
        stream = client.open(kit.text, **OPTIONS.fields)
        plan = LoadPlan(period_ns=10, rows_per_shot=8, shots=60)
        report = run_service(client, [stream], shots, plan=plan)
        assert report.complete
        assert not report.sustained
        assert report.held_back > 0
        assert report.latency("result").max() > 1e6
        assert report.backlog().most > 400


def test_load_past_what_is_possible_ends_as_overloaded(shots: ShotSet, serve, kit) -> None:
    with serve(worker={"window": 8}).client() as client:
        stream = client.open(kit.text, **OPTIONS.fields)
        plan = LoadPlan(period_ns=10, rows_per_shot=8, shots=5_000)
        report = run_service(client, [stream], shots, plan=plan, max_lag=0.1)
        assert report.overloaded
        assert 0 < report.rows_sent[0] < plan.rows
        assert report.commits.faults + report.results.faults == 0


def test_what_the_service_refuses_ends_the_run(shots: ShotSet, serve, kit) -> None:
    with serve().client() as client:
        stream = client.open(kit.text, **OPTIONS.fields)
        client.streams[stream.number + 1] = stream
        stream.number += 1  # a stream that the service does not know
        with pytest.raises(ServiceError, match="UNKNOWN_STREAM"):
            run_service(client, [stream], shots, plan=LoadPlan(period_ns=1e5, rows_per_shot=8, shots=2))


def test_a_stream_within_a_shot_is_refused(shots: ShotSet, serve, kit) -> None:
    plan = LoadPlan(period_ns=1e5, rows_per_shot=8, shots=2)
    with serve().client() as client:
        stream = client.open(kit.text, **OPTIONS.fields)
        client.push(stream, kit.rows(kit.sample(1, seed=1)[0], stream.shape)[0])
        with pytest.raises(ValueError, match="is within a shot"):
            run_service(client, [stream], shots, plan=plan)
        with pytest.raises(ValueError, match="there are 2 streams"):
            run_service(client, [stream, stream], shots, plan=plan)


def test_blocks_that_never_have_credit_are_refused(shots: ShotSet, serve, kit) -> None:
    plan = LoadPlan(period_ns=1e5, rows_per_shot=8, shots=2, rounds_per_block=9)
    with serve(worker={"window": 8}).client() as client:
        stream = client.open(kit.text, **OPTIONS.fields)
        with pytest.raises(ValueError, match="blocks of 9 rounds do not fit the 8 rounds"):
            run_service(client, [stream], shots, plan=plan)
