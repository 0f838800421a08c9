"""One estimate and the mean of many, against every set of faults decoded and against direct sampling."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sinter
import stim

from global_decoders import make_decoder
from qec import depolarizing, memory_circuit
from sims.rare.estimate import RareRate
from sims.rare.failures import Failures
from sims.rare.splitting import Effort, Ladder, Repetition, find_ladder, repeat
from sims.sweeps.tasks import decoder_dem

from .conftest import Exact, exact_of, repetition_code

SMALL = Effort(chains=16, steps=4)


def _repetitions(failures: Failures, effort: Effort, count: int, *, seed: int) -> list[Repetition]:
    ladder, _ = find_ladder(failures, effort, rng=np.random.default_rng(seed))
    return [repeat(failures, effort, ladder, rng=np.random.default_rng([seed, k])) for k in range(count)]


@pytest.mark.parametrize(
    ("p", "estimates", "error"),
    [(0.01, 96, 0.06), pytest.param(1e-4, 80, 0.15, marks=pytest.mark.slow)],
)
def test_the_mean_is_the_exact_rate_and_intervals_cover_it(p: float, estimates: int, error: float):
    """Even where each estimate is of a few chains that hardly move."""
    exact = exact_of(repetition_code(p).detector_error_model(decompose_errors=True))
    assert 5 < exact.rate / p**2 < 15
    compiled = make_decoder("pymatching").compile_decoder_for_dem(dem=exact.dem)
    found = _repetitions(Failures(exact.dem, compiled), SMALL, estimates, seed=1)
    rates = np.exp([one.log_rate for one in found]) / exact.rate
    assert rates.std() / math.sqrt(estimates) < error
    assert abs(rates.mean() - 1) < 3.5 * rates.std() / math.sqrt(estimates)
    intervals = [RareRate.of(found[k : k + 8]).rate for k in range(0, estimates, 8)]
    covered = sum(one.low <= exact.rate <= one.high for one in intervals)
    assert covered >= 0.95 * len(intervals) - 2 * math.sqrt(0.95 * 0.05 * len(intervals))


def test_every_step_finds_the_exact_rate_of_its_noise(exact: Exact, compiled: sinter.CompiledDecoder):
    """The failing sets are those of one decoder, whatever the noise; a step that is off shows where it is."""
    failures, effort = Failures(exact.dem, compiled), Effort(1024, 2)
    ladder, _ = find_ladder(failures, effort, rng=np.random.default_rng(6))
    found = [repeat(failures, effort, ladder, rng=np.random.default_rng([6, k])) for k in range(20)]
    rates = np.exp([one.log_rates for one in found]) / [exact.rate_at(tilt) for tilt in ladder.tilts]
    error = rates.std(axis=0, ddof=1) / math.sqrt(len(found))
    assert len(ladder.tilts) > 7
    assert (np.abs(rates.mean(axis=0) - 1) < 3.5 * error).all()
    assert error.max() < 0.03


def test_few_ancestors_cost_precision_alone_and_the_typical_estimate_is_low(monkeypatch: pytest.MonkeyPatch):
    """Chains that never move: a handful of direct failures is all that an estimate rests on.

    Code capacity of a repetition code, whose rate is a binomial tail.
    """
    d, p, count = 7, 0.05, 400
    edges = [f"error({p}) D{k} D{k + 1}\n" for k in range(d - 2)]
    dem = stim.DetectorErrorModel(f"error({p}) D0 L0\n{''.join(edges)}error({p}) D{d - 2}")
    rate = sum(math.comb(d, k) * p**k * (1 - p) ** (d - k) for k in range(d // 2 + 1, d + 1))
    failures = Failures(dem, make_decoder("pymatching").compile_decoder_for_dem(dem=dem))
    monkeypatch.setattr("sims.rare.splitting.propose", lambda noise, keys, **_: keys)
    found = _repetitions(failures, SMALL, count, seed=9)
    rates = np.exp([one.log_rate for one in found]) / rate
    assert np.mean([one.origins for one in found]) < 5
    assert abs(rates.mean() - 1) < 3 * rates.std() / math.sqrt(count)
    assert np.median(rates) < 0.95
    assert all(one.ancestors <= one.origins for one in found)
    together = RareRate.of(found)
    assert together.effective_errors <= together.ancestors <= sum(one.origins for one in found)
    assert together.reliable
    assert not RareRate.of(found[:8]).reliable


def test_repetitions_that_agree_are_worth_no_more_than_their_ancestors():
    agreeing = [Repetition((math.log(1e-4),), 1000, (0.3,), 6, 5.0)] * 8
    rare = RareRate.of(agreeing)
    assert rare.ancestors == pytest.approx(40)
    assert rare.effective_errors == pytest.approx(40)
    assert not rare.reliable
    assert rare.rate.high / rare.rate.best > math.exp(1.96 / math.sqrt(40))
    # One that is a thousand times larger is all that the mean rests on.
    lone = RareRate.of([*agreeing, Repetition((math.log(0.1),), 1000, (0.3,), 3, 2.0)])
    assert lone.ancestors == pytest.approx(2, rel=0.02)


def test_a_bad_ladder_costs_precision_alone(exact: Exact, compiled: sinter.CompiledDecoder):
    failures = Failures(exact.dem, compiled)
    ladder = Ladder((5.0, 2.0, 0.0))
    rates = [
        math.exp(repeat(failures, Effort(64, 4), ladder, rng=np.random.default_rng(k)).log_rate)
        for k in range(100)
    ]
    assert abs(np.mean(rates) - exact.rate) < 3.5 * np.std(rates) / 10


def test_what_always_happens_and_mechanisms_alike_count_as_they_should():
    text = """
        error(1) D0 L0
        error(0.01) D0 D1
        error(0.004) D0 D1 L0
        error(0.02) D1 L0
        error(0.03) D0
        error(0.006) L0
    """
    exact = exact_of(stim.DetectorErrorModel(text))
    compiled = make_decoder("pymatching").compile_decoder_for_dem(dem=exact.dem)
    rare = RareRate.of(_repetitions(Failures(exact.dem, compiled), Effort(256, 4), 16, seed=2)).rate
    assert rare.best == pytest.approx(exact.rate, rel=0.1)
    assert rare.low * 0.97 <= exact.rate <= rare.high * 1.03


def test_effective_errors_are_those_of_direct_sampling():
    """Where failures are common the estimate is direct sampling, whose errors can be counted."""
    dem = repetition_code(0.2).detector_error_model(decompose_errors=True)
    exact = exact_of(dem)
    compiled = make_decoder("pymatching").compile_decoder_for_dem(dem=dem)
    effort = Effort(64, 4)
    rare = RareRate.of(_repetitions(Failures(dem, compiled), effort, 100, seed=3))
    errors = 100 * effort.direct_shots * exact.rate
    assert rare.rate.best == pytest.approx(exact.rate, rel=4 / math.sqrt(errors))
    assert rare.effective_errors == pytest.approx(errors, rel=0.5)
    shots, counted = rare.counts
    assert counted / shots == pytest.approx(rare.rate.best, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("decoder", "distance", "p"),
    [("pymatching", 3, 0.002), ("pymatching-correlated", 3, 0.003), ("pymatching", 5, 0.003)],
)
def test_rates_agree_with_direct_sampling_of_the_circuit(decoder: str, distance: int, p: float):
    circuit = memory_circuit(distance=distance, rounds=distance, basis="x", noise=depolarizing(p))
    dem = decoder_dem(circuit)
    compiled = make_decoder(decoder).compile_decoder_for_dem(dem=dem)
    rare = RareRate.of(_repetitions(Failures(dem, compiled), Effort(64, 8), 12, seed=4))
    shots = 200_000
    detections, flips = circuit.compile_detector_sampler(seed=5).sample(
        shots, separate_observables=True, bit_packed=True
    )
    predicted = compiled.decode_shots_bit_packed(bit_packed_detection_event_data=detections)
    errors = int((predicted != flips).any(axis=1).sum())
    sigma = math.hypot(1 / math.sqrt(errors), 1 / math.sqrt(rare.effective_errors))
    assert errors > 300
    assert rare.effective_errors > 50
    assert math.log(rare.rate.best * shots / errors) == pytest.approx(0, abs=3.5 * sigma)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("error(0.1) D0", "no observable"),
        ("detector D0\nlogical_observable L0", "no errors"),
        ("error(0.1) D0 L0\nerror(0.1) D1", "fewer than 3% of the shots fail however strong the noise"),
    ],
)
def test_what_cannot_fail_is_refused(text: str, message: str):
    dem = stim.DetectorErrorModel(text)
    compiled = make_decoder("pymatching").compile_decoder_for_dem(dem=dem)
    with pytest.raises(ValueError, match=message):
        find_ladder(Failures(dem, compiled), SMALL, rng=np.random.default_rng(1))


@pytest.mark.parametrize("tilts", [(), (1.0,), (1.0, 1.0, 0.0), (0.5, 1.0, 0.0)])
def test_a_ladder_falls_to_the_noise_that_was_asked_for(tilts: tuple[float, ...]):
    with pytest.raises(ValueError, match="do not fall to 0"):
        Ladder(tilts)
