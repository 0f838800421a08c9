"""Sums over errors against all errors of small codes, by convolution."""

import pickle

import numpy as np
import pytest
import stim

from _qecpipe import Trellis
from global_decoders import (
    UnexplainedShotsError,
    decode_explained,
    decode_with_gap,
    is_available,
    make_decoder,
)
from global_decoders.adapters.trellis import TrellisDecoder


def _log_odds(dem: stim.DetectorErrorModel, packed: np.ndarray, **options) -> np.ndarray:
    return decode_with_gap(TrellisDecoder(**options).compile_decoder_for_dem(dem=dem), packed).log_odds


def test_log_odds_are_those_of_all_errors(exact):
    """Likely and unlikely syndromes; what is left out are states below 1e-7 of the best one."""
    syndromes = np.flatnonzero((exact.joint > 1e-9).all(axis=1))
    syndromes = syndromes[:: len(syndromes) // 200 or 1]
    expected = np.log(exact.joint[syndromes, 0]) - np.log(exact.joint[syndromes, 1])
    found = _log_odds(exact.dem, exact.packed[syndromes], beam=1 << 14)[:, 0]
    sure = np.abs(expected) < 8
    np.testing.assert_allclose(found[sure], expected[sure], rtol=0.01, atol=2e-3)
    np.testing.assert_array_equal(found < 0, expected < 0)


def test_a_narrow_beam_is_near(memory):
    dem = memory(distance=3, rounds=6, p=0.01).detector_error_model(decompose_errors=True)
    packed, _, _ = dem.compile_sampler(seed=5).sample(300, bit_packed=True)
    wide, narrow = (_log_odds(dem, packed, beam=beam) for beam in (4096, 64))
    assert np.median(np.abs(np.clip(wide, -5, 5) - np.clip(narrow, -5, 5))) < 0.01
    assert ((wide < 0) != (narrow < 0)).mean() < 0.02


@pytest.mark.parametrize("beam", [1, 64])
def test_a_shot_that_a_beam_loses_has_the_log_odds_of_all_errors(exact_of, beam):
    """Half way D0 L0 is 1e8 times likelier than what explains the shot; nothing explains the D1 it leaves."""
    dem = stim.DetectorErrorModel("""
        error(0.2) D0 L0
        error(1e-9) D0 D1
        error(2e-9) D0 D4
        error(0.3) D1 D4 L0
        error(0.1) D1 D2
        error(0.1) D2 D3
    """)
    shot = np.array([[0b00011]], dtype=np.uint8)
    joint = exact_of(dem).joint[0b00011]
    np.testing.assert_allclose(_log_odds(dem, shot, beam=beam), [[np.log(joint[0] / joint[1])]], rtol=1e-5)


def test_shots_that_whole_mechanisms_do_not_explain_have_the_sums_over_components(exact_of):
    """Three mechanisms add up to eight of these shots; matching explains all 32 of an even D4 D5 by edges."""
    lines = [(0.1, "D0 D1 L0 ^ D2"), (0.07, "D1 ^ D2 D3"), (0.05, "D0 ^ D2 D3"), (0.02, "D4 D5")]
    dem = stim.DetectorErrorModel("\n".join(f"error({p}) {parts}" for p, parts in lines))
    alone = [f"error({p}) {part}" for p, parts in lines for part in parts.split("^")]
    whole, edges = exact_of(dem), exact_of(stim.DetectorErrorModel("\n".join(alone)))
    numbers = np.flatnonzero(edges.syndrome_probability)
    with np.errstate(divide="ignore", invalid="ignore"):
        of_whole, of_edges = (
            np.log(of.joint[numbers, 0]) - np.log(of.joint[numbers, 1]) for of in (whole, edges)
        )
    expected = np.where(whole.syndrome_probability[numbers] > 0, of_whole, of_edges)
    assert (len(numbers), np.isfinite(expected).sum()) == (32, 16)
    found = _log_odds(dem, whole.packed[numbers])[:, 0]
    np.testing.assert_allclose(found, expected, rtol=0.03)
    matching = make_decoder("pymatching").compile_decoder_for_dem(dem=dem)
    by_edges = whole.syndrome_probability[numbers] == 0
    np.testing.assert_array_equal(
        found[by_edges] < 0, decode_with_gap(matching, whole.packed[numbers[by_edges]]).predictions[:, 0]
    )


@pytest.mark.parametrize("name", ["trellis", "pymatching", "pymatching-correlated", "fusion-blossom"])
def test_shots_that_nothing_explains_are_told_and_the_others_decoded(name):
    dem = stim.DetectorErrorModel("error(0.1) D0 L0\nerror(0.02) D1 D2\ndetector D3")
    if not is_available(name):
        pytest.skip(f"{name} is not installed")
    decoder = make_decoder(name).compile_decoder_for_dem(dem=dem)
    shots = np.array([[0b1], [0b10], [0b110], [0b1000], [0b101]], dtype=np.uint8)
    with pytest.raises(UnexplainedShotsError, match=r"shot [13]") as raised:
        decoder.decode_shots_bit_packed(bit_packed_detection_event_data=shots)
    sent = pickle.loads(pickle.dumps(raised.value))  # as a worker process sends it
    assert (str(sent), sent.shots.tolist()) == (str(raised.value), raised.value.shots.tolist())
    found, known = decode_explained(lambda packed: decode_with_gap(decoder, packed), shots)
    assert (found.predictions.tolist(), known.tolist()) == ([[1], [0]], [0, 2])


def test_each_observable_by_itself():
    dem = stim.DetectorErrorModel("""
        error(0.1) D0 L0
        error(0.03) D0 D1 L1
        error(0.2) D1
        error(0.15) D1 L0 L1
    """)
    # Of two faults of D1 alone, the likelier one says what both flip.
    shots = np.arange(4, dtype=np.uint8)[:, None]
    joint = np.zeros((4, 4))
    faults = [(0.1, 0b01, 0b01), (0.03, 0b11, 0b10), (0.2 * 0.85 + 0.15 * 0.8, 0b10, 0b00)]
    for fired in range(8):
        p, syndrome, flips = 1.0, 0, 0
        for k, (of, detectors, observables) in enumerate(faults):
            happens = fired >> k & 1
            p *= of if happens else 1 - of
            syndrome ^= detectors * happens
            flips ^= observables * happens
        joint[syndrome, flips] += p
    expected = (
        np.log(joint[:, [0, 2]].sum(1) / joint[:, [1, 3]].sum(1)),
        np.log(joint[:, [0, 1]].sum(1) / joint[:, [2, 3]].sum(1)),
    )
    np.testing.assert_allclose(_log_odds(dem, shots), np.stack(expected, axis=1), rtol=1e-5)


@pytest.mark.parametrize("width", [20, 63, 64, 100, 127])
def test_keys_of_any_width(width):
    """Every detector has a fault that flips L0, then one that does not: all are open half way."""
    trellis = _twice_each(width)
    bits = np.zeros((4, width), dtype=np.uint8)
    bits[1, width - 1] = bits[2, [0, width // 2]] = bits[3, -3:] = 1
    found = trellis.log_odds(np.packbits(bits, axis=1, bitorder="little"), beam=1024)[:, 0]
    # The mean of the sign of L0: one of both faults of what fired; none or both of what did not.
    one, other = 0.01 / 0.99, 0.03 / 0.97
    fired = np.array([1, 2, 3])
    sign = ((other - one) / (other + one)) ** fired
    sign *= ((1 - one * other) / (1 + one * other)) ** (width - fired)
    np.testing.assert_allclose(found[1:], 2 * np.arctanh(sign), rtol=0.05)
    assert found[0] > 3


def test_a_patch_too_large_is_refused():
    with pytest.raises(ValueError, match="more than 127 detectors are open at a time"):
        _twice_each(128)


def test_a_fault_of_too_many_detectors_is_refused():
    dem = stim.DetectorErrorModel("error(0.1) " + " ".join(f"D{d}" for d in range(13)))
    with pytest.raises(ValueError, match="fault 0 flips 13 detectors; a trellis takes 1 to 12"):
        TrellisDecoder().compile_decoder_for_dem(dem=dem)


def _twice_each(width: int) -> Trellis:
    detectors = np.tile(np.arange(width, dtype=np.int32), 2)
    probabilities = np.repeat([0.01, 0.03], width)
    flips = np.repeat(np.array([1, 0], dtype=np.uint64), width)
    starts = np.arange(2 * width + 1, dtype=np.int32)
    return Trellis(starts, detectors, probabilities, flips, num_detectors=width, num_observables=1)


def test_beams_of_other_widths_are_refused():
    for beam in (0, (1 << 20) + 1):
        with pytest.raises(ValueError, match=f"beam={beam} is not from 1 to 2\\^20 states"):
            TrellisDecoder(beam=beam).compile_decoder_for_dem(dem=stim.DetectorErrorModel("error(0.1) D0"))
        with pytest.raises(ValueError, match=f"beam: {beam} is not from 1 to 2\\^20 states"):
            _twice_each(3).log_odds(np.zeros((1, 1), dtype=np.uint8), beam=beam)
    with pytest.raises(ValueError, match=r"negligible: 1\.000000 is not from 0 to below 1"):
        _twice_each(3).log_odds(np.zeros((1, 1), dtype=np.uint8), beam=1, negligible=1.0)
