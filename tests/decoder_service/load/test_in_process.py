"""Load on decoders in this process."""

from __future__ import annotations

import pytest
import stim

from decoder_service.load import LoadPlan, ShotSet, StreamOptions, run_in_process, sample_shots
from decoder_service.streaming import StreamDecoder
from global_decoders.windows import WindowedDecoder

CIRCUIT = stim.Circuit.generated(
    "surface_code:rotated_memory_x",
    distance=3,
    rounds=7,
    after_clifford_depolarization=0.01,
    before_measure_flip_probability=0.01,
)
OPTIONS = StreamOptions(commit=2, buffer=2)


@pytest.fixture(scope="module")
def shots() -> ShotSet:
    return sample_shots(CIRCUIT, OPTIONS, rows=200, seed=3)


@pytest.fixture(scope="module")
def decoders() -> list[StreamDecoder]:
    found = [OPTIONS.build(CIRCUIT) for _ in range(3)]
    for decoder in found:
        decoder.warm(rounds=7)
    return found


def test_shots_and_their_answers_are_those_of_a_batch_decoder(shots: ShotSet) -> None:
    assert len(shots.rows) == 25
    assert shots.rows_per_shot == 8
    measured = CIRCUIT.compile_sampler(seed=3).sample(25)
    detections = CIRCUIT.compile_m2d_converter().convert(
        measurements=measured, append_observables=False, bit_packed=True
    )
    decoder = WindowedDecoder(inner="pymatching", commit=2, buffer=2)
    compiled = decoder.compile_decoder_for_dem(dem=CIRCUIT.detector_error_model(decompose_errors=True))
    expected = compiled.decode_shots_bit_packed(bit_packed_detection_event_data=detections)
    assert [answers[-1].frame for answers in shots.answers] == [frame.tobytes() for frame in expected]
    assert all(answers[-1].final and not any(one.final for one in answers[:-1]) for answers in shots.answers)


@pytest.mark.parametrize(("streams", "block"), [(1, 1), (1, 3), (3, 2), (2, 100)])
def test_every_output_comes_once(
    streams: int, block: int, shots: ShotSet, decoders: list[StreamDecoder]
) -> None:
    plan = LoadPlan(period_ns=1e5, rows_per_shot=8, shots=30, rounds_per_block=block, streams=streams)
    report = run_in_process(decoders[:streams], shots, plan=plan)
    assert report.complete
    assert report.results.expected == report.results.received == 30 * streams
    assert report.backlog().end == 0
    assert report.latency("commit").min() > 0
    assert (report.latency("service") > 0).all()


def test_a_block_waits_for_its_last_row(shots: ShotSet, decoders: list[StreamDecoder]) -> None:
    plan = LoadPlan(period_ns=2e6, rows_per_shot=8, shots=3, rounds_per_block=8)
    report = run_in_process(decoders[:1], shots, plan=plan)
    first = report.streams[0].late[report.streams[0].row < 8]
    rows = report.streams[0].row[report.streams[0].row < 8]
    assert (first >= (7 - rows) * 2e6).all()


def test_what_is_due_faster_than_it_is_decoded_ends_as_overloaded(
    shots: ShotSet, decoders: list[StreamDecoder]
) -> None:
    plan = LoadPlan(period_ns=1, rows_per_shot=8, shots=5_000)
    report = run_in_process(decoders[:1], shots, plan=plan, max_lag=0.05)
    assert report.overloaded
    assert not report.complete
    assert report.commits.faults + report.results.faults == 0
    assert 0 < report.rows_sent[0] < plan.rows


def test_a_plan_for_other_shots_is_refused(shots: ShotSet, decoders: list[StreamDecoder]) -> None:
    with pytest.raises(ValueError, match="there are 2 decoders and shots of 8 rows"):
        run_in_process(decoders[:2], shots, plan=LoadPlan(period_ns=1, rows_per_shot=8, shots=1))
    with pytest.raises(ValueError, match="give a circuit with as many rounds as a shot"):
        sample_shots(CIRCUIT, OPTIONS, rows=100, seed=1, rounds=9)
