"""Paired counts: they add, and they are what decoding the same shots twice gives."""

import numpy as np
import pytest
import stim
import torch

import qec
from global_decoders import make_decoder
from predecoder import CompiledPredecoded
from predecoder.correction import ClusterDecision, MatchingDecision, Policies, ThresholdPolicy
from predecoder.inference import EngineOptions
from predecoder.training import AGAINST_CORRELATED, EvaluationCase, PairedCounts, PairedEvaluator


def test_counts_equal_decoding_by_hand(random_network):
    """The same seed through the plain decoder and the pre-decoded one, counted here."""
    network = random_network()
    policies = Policies(small_patch=ThresholdPolicy(propose=-0.5, commit=0.1))
    assert policies.small_patch is not None
    case = EvaluationCase(3, 0.01, "z", 500)
    cpu = torch.device("cpu")
    counts = PairedEvaluator(network, policies, case, device=cpu).run(500, seed=4)
    circuit = qec.memory_circuit(distance=3, rounds=3, basis="z", noise=qec.depolarizing(0.01))
    problem = qec.DecodingProblem.from_circuit(circuit)
    packed, truth = circuit.compile_detector_sampler(seed=4).sample(
        500, separate_observables=True, bit_packed=True
    )
    threshold = ClusterDecision(problem, policies.small_patch)
    for name, decision, plain in (
        ("predecoder+pymatching", threshold, "pymatching"),
        ("predecoder+pymatching-correlated", MatchingDecision(problem, abstain_above=0), None),
        ("neural-matching", MatchingDecision(problem), "pymatching"),
        (AGAINST_CORRELATED, MatchingDecision(problem), None),
    ):
        plain = make_decoder(plain or "pymatching-correlated").compile_decoder_for_dem(dem=problem.dem)
        both = CompiledPredecoded(problem, network, plain, decision=decision, options=EngineOptions("cpu"))
        a, b = (
            (d.decode_shots_bit_packed(bit_packed_detection_event_data=packed) != truth).ravel()
            for d in (plain, both)
        )
        c = counts[name]
        assert (c.shots, c.errors_plain, c.errors_predecoded) == (500, a.sum(), b.sum())
        assert (c.only_plain, c.only_predecoded) == ((a & ~b).sum(), (b & ~a).sum())
        assert c.events == np.unpackbits(packed).sum()
    assert counts["neural-matching"].residual_events == 0


def test_counts_add_and_the_interval_is_of_the_discordant_shots():
    a = PairedCounts(100, 20, 10, 15, 5, 1000, 80, 8)
    b = PairedCounts(50, 10, 5, 6, 1, 500, 40, 4)
    total = a + b
    assert total == PairedCounts(150, 30, 15, 21, 6, 1500, 120, 12)
    assert total.ratio == 2
    assert total.sdr == 10
    low, high = total.ratio_interval
    assert low < 2 < high
    assert low * high == pytest.approx(4)
    same = PairedCounts(100, 20, 20, 0, 0)
    assert same.ratio_interval == (1, 1)
    assert np.isnan(PairedCounts(10, 3, 0, 3, 0).ratio)


@pytest.mark.slow
def test_interval_covers():
    """Shots whose two answers fail with known rates: the interval holds the true ratio 19 times in 20."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        kind = rng.choice(4, size=4000, p=[0.9, 0.03, 0.05, 0.02])
        both, only_a, only_b = ((kind == k).sum() for k in (1, 2, 3))
        c = PairedCounts(4000, int(both + only_a), int(both + only_b), int(only_a), int(only_b))
        low, high = c.ratio_interval
        covered += low <= 0.08 / 0.05 <= high
    assert 0.92 <= covered / 400 <= 0.98


@pytest.mark.parametrize("noise", ["si1000", "measurement-3x", "log-normal-0.5"])
def test_other_noise_has_more_or_other_errors_than_the_papers(noise):
    """Same mechanisms, other probabilities; three times the measurement flips are three times."""
    paper, other = (
        EvaluationCase(3, 0.005, "x", 1, noise=n).circuit()  # pyright: ignore[reportArgumentType]
        for n in ("depolarizing", noise)
    )
    flips = [
        [
            i.gate_args_copy()[0]
            for i in c.flattened()
            if isinstance(i, stim.CircuitInstruction) and i.name in ("X_ERROR", "Z_ERROR")
        ]
        for c in (paper, other)
    ]
    assert paper != other
    if noise == "measurement-3x":
        assert max(flips[1]) == pytest.approx(3 * max(flips[0]))
