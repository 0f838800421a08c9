"""The sampler's counts against the same decoder called by hand."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import sinter
import stim
from hypothesis import given
from hypothesis.extra import numpy as hnp

from global_decoders import make_decoder
from sims.sweeps.measured_sampler import (
    DECODE_NS,
    DETECTION_EVENTS,
    DETECTORS,
    PREDECODE_NS,
    RESIDUAL_EVENTS,
    SAMPLE_NS,
    MeasuredSampler,
    count_bits,
)


def _task(p: float = 0.02) -> sinter.Task:
    circuit = stim.Circuit.generated(
        "surface_code:rotated_memory_x", distance=3, rounds=3, after_clifford_depolarization=p
    )
    return sinter.Task(
        circuit=circuit,
        detector_error_model=circuit.detector_error_model(decompose_errors=True),
        decoder="any",
    )


@given(hnp.arrays(np.uint8, hnp.array_shapes(max_dims=2)))
def test_count_bits(packed: np.ndarray) -> None:
    assert count_bits(packed) == int(np.unpackbits(packed).sum())


def test_plain_decoder_has_the_common_counts_only() -> None:
    stats = MeasuredSampler(make_decoder("pymatching")).compiled_sampler_for_task(_task()).sample(500)
    assert stats.shots == 500
    assert stats.custom_counts[DETECTORS] == 500 * 24
    assert set(stats.custom_counts) == {DETECTORS, DETECTION_EVENTS, SAMPLE_NS, DECODE_NS}


def test_predecoded_decoder_counts_the_residual(predecoded: sinter.Decoder) -> None:
    stats = MeasuredSampler(predecoded).compiled_sampler_for_task(_task()).sample(2000)
    counts = stats.custom_counts
    removed = counts[DETECTION_EVENTS] - counts[RESIDUAL_EVENTS]
    assert 0 < removed < 2000  # detector 0 of a shot, which fires in some of them
    assert stats.seconds == pytest.approx((counts[PREDECODE_NS] + counts[DECODE_NS]) / 1e9)


def test_error_rate_agrees_with_sinters_own_sampler() -> None:
    """Two samplers, one decoder: 20,000 shots each differ by statistics only (4 sigma)."""
    task, decoder = _task(), make_decoder("pymatching")
    ours = MeasuredSampler(decoder).compiled_sampler_for_task(task).sample(20_000)
    (theirs,) = sinter.collect(
        num_workers=1,
        tasks=[task],
        custom_decoders={"any": decoder},
        max_shots=20_000,
        max_batch_size=20_000,
    )
    spread = np.sqrt(ours.errors + theirs.errors)
    assert abs(ours.errors - theirs.errors) < 4 * spread


def test_sampler_survives_pickling() -> None:
    sampler = pickle.loads(pickle.dumps(MeasuredSampler(make_decoder("pymatching"))))
    assert sampler.compiled_sampler_for_task(_task()).sample(10).shots == 10


def test_zero_noise_gives_no_events_and_no_errors() -> None:
    stats = MeasuredSampler(make_decoder("pymatching")).compiled_sampler_for_task(_task(p=0.0)).sample(64)
    assert (stats.errors, stats.custom_counts[DETECTION_EVENTS]) == (0, 0)


class _WrongShape(sinter.Decoder):
    def compile_decoder_for_dem(self, *, dem: stim.DetectorErrorModel) -> sinter.CompiledDecoder:
        return _WrongShapeCompiled()


class _WrongShapeCompiled(sinter.CompiledDecoder):
    def decode_shots_bit_packed(self, *, bit_packed_detection_event_data: np.ndarray) -> np.ndarray:
        return np.zeros((len(bit_packed_detection_event_data), 3), np.uint8)


def test_predictions_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(5, 3\), not \(5, 1\)"):
        MeasuredSampler(_WrongShape()).compiled_sampler_for_task(_task()).sample(5)
