"""A cascade gives each shot the answer of the decoder that it belongs to."""

import pickle

import numpy as np
import pytest
import stim

import qec
from global_decoders import CascadeDecoder, CompiledCascade, NoGapError, decode_with_gap, make_decoder


def _circuit(distance: int = 3):
    return qec.memory_circuit(distance=distance, rounds=distance, basis="x", noise=qec.depolarizing(0.01))


@pytest.fixture(scope="module")
def shots():
    return _circuit().compile_detector_sampler(seed=2).sample(3000, bit_packed=True)


def _compiled(dem, **options) -> CompiledCascade:
    cascade = CascadeDecoder(make_decoder("pymatching"), make_decoder("tesseract"), **options)
    compiled = pickle.loads(pickle.dumps(cascade)).compile_decoder_for_dem(dem=dem)
    assert isinstance(compiled, CompiledCascade)
    return compiled


def test_doubtful_shots_have_the_slow_answer_and_the_others_the_fast_one(shots):
    pytest.importorskip("tesseract_decoder")
    dem = _circuit().detector_error_model(decompose_errors=True)
    packed = shots
    fast, slow = (
        decode_with_gap(make_decoder(name).compile_decoder_for_dem(dem=dem), packed[:600])
        for name in ("pymatching", "tesseract")
    )
    compiled = _compiled(dem, threshold=1.5)
    doubtful = fast.of_shots < 1.5
    assert 10 < doubtful.sum() < 200
    predictions = compiled.decode_shots_bit_packed(bit_packed_detection_event_data=packed[:600])
    np.testing.assert_array_equal(predictions[doubtful], slow.predictions[doubtful])
    np.testing.assert_array_equal(predictions[~doubtful], fast.predictions[~doubtful])
    found = decode_with_gap(compiled, packed[:600])
    np.testing.assert_array_equal(found.predictions, predictions)
    np.testing.assert_array_equal(found.gap[:, 0], np.where(doubtful, slow.gap[:, 0], fast.gap[:, 0]))


def test_the_threshold_leaves_the_fraction_of_new_shots_and_of_any_batch(shots):
    """Found once, on shots of its own: one by one, shots have the answers that they have together."""
    dem = _circuit().detector_error_model(decompose_errors=True)
    packed = shots
    cascade = CascadeDecoder(make_decoder("pymatching"), make_decoder("pymatching-correlated"), fraction=0.05)
    compiled = cascade.compile_decoder_for_dem(dem=dem)
    assert isinstance(compiled, CompiledCascade)
    gap = decode_with_gap(compiled.first, packed).of_shots
    assert (gap < compiled.threshold).mean() == pytest.approx(0.05, abs=0.02)
    again = cascade.compile_decoder_for_dem(dem=dem)
    assert isinstance(again, CompiledCascade)
    assert again.threshold == compiled.threshold
    together = compiled.decode_shots_bit_packed(bit_packed_detection_event_data=packed[:100])
    alone = [
        compiled.decode_shots_bit_packed(bit_packed_detection_event_data=shot[None])[0]
        for shot in packed[:100]
    ]
    np.testing.assert_array_equal(together, alone)
    assert compiled.decode_shots_bit_packed(bit_packed_detection_event_data=packed[:0]).shape == (0, 1)


@pytest.mark.parametrize("fraction", [5e-324, 0.9999])
def test_a_fraction_may_be_anything_between_none_and_all(shots, fraction):
    """Of which the sample has less than a shot, or all but less than one."""
    dem = _circuit().detector_error_model(decompose_errors=True)
    plain = make_decoder("pymatching")
    compiled = CascadeDecoder(plain, plain, fraction=fraction).compile_decoder_for_dem(dem=dem)
    assert isinstance(compiled, CompiledCascade)
    gap = decode_with_gap(compiled.first, shots).of_shots
    if fraction < 0.5:
        assert (gap < compiled.threshold).mean() < 0.002
    else:
        assert compiled.threshold == pytest.approx(gap.max(), rel=0.05)
        assert (gap >= compiled.threshold)[gap < gap.max() * 0.9].sum() == 0


def test_certain_flips_reach_both():
    """The cascade is of a DEM in normal form, whatever DEM it is given."""
    circuit = _circuit()
    dem = circuit.detector_error_model(decompose_errors=True)
    dem += stim.DetectorErrorModel("error(1) D0 D3 L0")
    packed = dem.compile_sampler(seed=3).sample(200, bit_packed=True)[0]
    options = (make_decoder("pymatching"), make_decoder("pymatching-correlated"))
    compiled = CascadeDecoder(*options, threshold=1e9).compile_decoder_for_dem(dem=dem)
    expected = options[1].compile_decoder_for_dem(dem=dem)
    np.testing.assert_array_equal(
        compiled.decode_shots_bit_packed(bit_packed_detection_event_data=packed),
        expected.decode_shots_bit_packed(bit_packed_detection_event_data=packed),
    )


def test_what_cannot_be_is_named():
    plain = make_decoder("pymatching")
    for options, message in (
        ({}, "give a fraction of doubtful shots, or a threshold"),
        ({"fraction": 0.1, "threshold": 1.0}, "give a fraction of doubtful shots, or a threshold"),
        ({"fraction": 1.5}, "fraction=1.5 of doubtful shots is not between 0 and 1"),
        ({"threshold": -1.0}, "threshold=-1.0 is not a number of nats above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            CascadeDecoder(plain, plain, **options)
    relay = pytest.importorskip("relay_bp") and make_decoder("relay-bp")
    dem = _circuit().detector_error_model(decompose_errors=True)
    with pytest.raises(NoGapError, match="does not say how sure it is"):
        CascadeDecoder(relay, plain, fraction=0.01).compile_decoder_for_dem(dem=dem)
    compiled = CascadeDecoder(plain, relay, threshold=1.0).compile_decoder_for_dem(dem=dem)
    with pytest.raises(NoGapError, match="does not say how sure it is"):
        decode_with_gap(compiled, np.zeros((1, 3), dtype=np.uint8))


class _Limits:
    """A decoder with a gap, and the limits that it is asked for."""

    def __init__(self, compiled):
        self.compiled, self.limits = compiled, []

    def decode_shots_with_gap(self, *, bit_packed_detection_event_data, limit=np.inf):
        self.limits.append(limit)
        return decode_with_gap(self.compiled, bit_packed_detection_event_data, limit=limit)


@pytest.mark.parametrize("name", ["pymatching", "pymatching-correlated"])
def test_gaps_are_looked_for_as_far_as_they_decide(shots, name):
    """Up to the threshold for predictions, and as far as is asked for with them; all the way below 0."""
    dem = _circuit().detector_error_model(decompose_errors=True)
    first, second = (
        _Limits(make_decoder(of).compile_decoder_for_dem(dem=dem)) for of in (name, "pymatching-correlated")
    )
    whole = decode_with_gap(first.compiled, shots).of_shots
    for threshold in (1.7, float(np.sort(whole)[100])):
        compiled = CompiledCascade(first, second, threshold=threshold)  # type: ignore[arg-type]
        found, doubtful = compiled._first_opinion(shots)
        np.testing.assert_array_equal(doubtful, np.flatnonzero(whole < threshold))
        np.testing.assert_array_equal(found.of_shots, np.clip(whole, -threshold, np.float32(threshold)))
        for limit in (0.5, 5.0, np.inf):
            decode_with_gap(compiled, shots[:10], limit=limit)
            assert (first.limits[-1], second.limits[-1]) == (max(limit, threshold), limit)
    CompiledCascade(first, second, threshold=-1.0).decode_shots_bit_packed(  # type: ignore[arg-type]
        bit_packed_detection_event_data=shots[:10]
    )
    assert first.limits[-1] == np.inf


def test_a_doubtful_shot_that_the_second_cannot_decode_keeps_the_first_answer():
    """Edges alone explain D0 and D1: the first takes them, the second knows of no such thing."""
    edges = stim.DetectorErrorModel("error(0.2) D0 L0\nerror(0.1) D0 D1\nerror(0.15) D1")
    whole = stim.DetectorErrorModel("error(0.2) D0 D1 L0\nlogical_observable L0")
    first, second = (make_decoder("pymatching").compile_decoder_for_dem(dem=dem) for dem in (edges, whole))
    compiled = CompiledCascade(first, second, threshold=9.0)
    packed = np.array([[0], [1], [2], [3], [1]], dtype=np.uint8)
    alone = decode_with_gap(first, packed)
    assert compiled.decode_shots_bit_packed(bit_packed_detection_event_data=packed)[:, 0].tolist() == [
        *(0, 1, 0, 1, 1)
    ]
    found = decode_with_gap(compiled, packed)
    np.testing.assert_array_equal(found.gap[[1, 2, 4]], alone.gap[[1, 2, 4]])
    assert np.isinf(found.gap[[0, 3]]).all()
