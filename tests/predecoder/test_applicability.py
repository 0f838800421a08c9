"""Where the network cannot help, decoders go on without it and say so.

Shorter experiments than the 5 rounds and more that the shipped networks were trained on, measured on the same
60,000 shots each (X basis, p = 0.006, noise in every round): errors of PyMatching, of `neural-matching`, of
`predecoder+pymatching`. `predecoder+pymatching-correlated` never had over 3 errors more than its matcher.

| d, rounds | PyMatching | accurate   | fast       | realtime   |
|-----------|------------|------------|------------|------------|
| 5, 1      | 197        | 244, 220   | 229, 234   | 253, 272   |
| 5, 2      | 721        | 647, 668   | 674, 738   | 696, 782   |
| 5, 3      | 1375       | 1086, 1175 | 1173, 1298 | 1245, 1402 |
| 5, 4      | 1909       | 1475, 1583 | 1551, 1700 | 1688, 1905 |
| 7, 1      | 60         |            | 80, 102    | 78, 112    |
| 7, 2      | 315        |            | 295, 365   | 301, 359   |
| 7, 3      | 674        |            | 522, 663   | 584, 684   |

`accurate` at d = 7, 20,000 shots: 20 -> 31, 30 at one round, 113 -> 99, 108 at two.

Under Stim's own circuits and uniform noise, two rounds, d = 5, p = 0.006 (110,000 shots, both bases)
PyMatching has 913 errors, `accurate` 955 and 996. So the networks are used from 3 rounds on, where
`realtime` breaks even before a matcher. A last round without noise helps: at d = 5 and one noisy round 133
errors become 122, 137 with `fast`, 158, 170 with `realtime`; at two, 606 become 485, 533 and 558, 632. It
does not count as a round, which is on the safe side.

Patches with an even side, which none was trained on (d = 4 and 6, both bases, four orientations, 1,500 shots
each, p = 0.006; errors of all eight): PyMatching 593 and 475; `neural-matching` with `fast` 555 and 340,
`accurate` 545 and 315, `realtime-matching` 579 and 450, `realtime` 603 and 549. So `realtime` is not used
there.

Circuits without mid-circuit reset, which none was trained on (d rounds, X, the same shots in each row; errors
of PyMatching, correlated PyMatching, and `neural-matching` with weights):

| d, noise, shots               | PyMatching, correlated | accurate-, fast-, realtime-matching |
|-------------------------------|------------------------|-------------------------------------|
| 5, depolarizing 0.006, 40,000 | 1196, 935              | -, 1028, 1118                       |
| 5, depolarizing 0.006, 12,000 | 369, 297               | 323, -, -                           |
| 9, depolarizing 0.006, 20,000 | 387, 192               | -, 305, 395                         |
| 5, depolarizing 0.003, 60,000 | 300, 185               | -, 232, 235                         |
| 5, SI1000 0.002, 60,000       | 320, 233               | -, 746, 732                         |

In the first two rows `accurate`, `fast` and `realtime` have 365, 1254 and 1353. `predecoder+pymatching`
(d = 5, depolarizing 0.006, 12,000 shots: 350 without a network) has 346 with `accurate`, 380 with `fast`, 400
with `realtime`; `predecoder+pymatching-correlated` is as good as its matcher, but under SI1000 (233 -> 281
with `fast`). Where measurements are as bad as SI1000 has them, a network that never saw a wrong result two
rounds apart more than doubles the errors, and correlated PyMatching is better than all, everywhere: none is
used there.
"""

import warnings

import numpy as np
import pytest
import stim

import predecoder
import qec
from global_decoders import make_decoder
from predecoder import (
    CompiledNeuralMatching,
    CompiledPredecoded,
    LayoutMismatchWarning,
    NeuralMatchingDecoder,
    Policies,
    PredecodedDecoder,
    ShortExperimentWarning,
    load_bundle,
    shipped_weights,
)
from predecoder.applicability import noisy_rounds


@pytest.fixture(scope="module")
def weights(tmp_path_factory, random_network):
    """Random weights that are good for three rounds and more."""
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    predecoder.save_weights(random_network(), path, {}, policies=Policies(min_rounds=3))
    return path


def _circuit(rounds: int, *, perfect: bool = False) -> stim.Circuit:
    return qec.memory_circuit(
        distance=3, rounds=rounds, basis="x", noise=qec.depolarizing(0.01), perfect_last_round=perfect
    )


def _decoders(weights) -> dict:
    """With the network, and what decodes without it."""
    return {
        NeuralMatchingDecoder(weights=weights, device="cpu"): make_decoder("pymatching"),
        **{
            PredecodedDecoder(make_decoder(name), weights=weights, device="cpu"): make_decoder(name)
            for name in ("pymatching", "pymatching-correlated")
        },
    }


@pytest.mark.parametrize("rounds", [1, 2, 3])
@pytest.mark.parametrize("perfect", [False, True])
def test_short_experiments_are_decoded_without_the_network(weights, rounds, perfect):
    """A last round without noise does not count: a network sees as many noisy layers as without it."""
    circuit = _circuit(rounds + perfect, perfect=perfect)
    dem = circuit.detector_error_model(decompose_errors=True)
    assert noisy_rounds(qec.DecodingProblem.from_dem(dem).layout) == rounds
    packed = circuit.compile_detector_sampler(seed=rounds).sample(300, bit_packed=True)
    for decoder, plain in _decoders(weights).items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            compiled = decoder.compile_decoder_for_dem(dem=dem)
        told = [w for w in caught if w.category is ShortExperimentWarning]
        if rounds < 3:
            assert [w.filename for w in told] == [__file__]  # where it was compiled
            assert [str(w.message) for w in told] == [
                f"decoding without the network: it helps from 3 noisy rounds on, and here are {rounds}"
            ]
            answers, expected = (
                c.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
                for c in (compiled, plain.compile_decoder_for_dem(dem=dem))
            )
            assert np.array_equal(answers, expected)
        else:
            assert not told
            assert isinstance(compiled, CompiledNeuralMatching | CompiledPredecoded)


def test_a_layout_mismatch_is_told_too(weights):
    circuit = stim.Circuit.generated(
        "repetition_code:memory", distance=3, rounds=5, before_round_data_depolarization=0.1
    )
    dem = circuit.detector_error_model(decompose_errors=True)
    with pytest.warns(LayoutMismatchWarning, match="without the network: detector D0"):
        NeuralMatchingDecoder(weights=weights).compile_decoder_for_dem(dem=dem)
    with pytest.raises(qec.LayoutError, match="D0 has coordinates"):
        NeuralMatchingDecoder(weights=weights, on_mismatch="fail").compile_decoder_for_dem(dem=dem)


@pytest.mark.parametrize("name", shipped_weights())
def test_shipped_networks_are_used_from_where_they_help(name):
    assert load_bundle(name).policies.min_rounds == 3


def _assert_decoded_without(path, circuit: stim.Circuit, dem: stim.DetectorErrorModel, *, match: str) -> None:
    """Every decoder of these weights says why it does without them, and decodes as the one behind them."""
    packed = circuit.compile_detector_sampler(seed=1).sample(200, bit_packed=True)
    for decoder, plain in _decoders(path).items():
        with pytest.warns(LayoutMismatchWarning, match=match):
            compiled = decoder.compile_decoder_for_dem(dem=dem)
        expected = plain.compile_decoder_for_dem(dem=dem)
        np.testing.assert_array_equal(
            compiled.decode_shots_bit_packed(bit_packed_detection_event_data=packed),
            expected.decode_shots_bit_packed(bit_packed_detection_event_data=packed),
        )


@pytest.mark.parametrize("distance", [(3, 4), (4, 3), 4])
def test_patches_with_an_even_side_are_decoded_without_weights_that_are_no_good_there(
    tmp_path, random_network, distance
):
    path = tmp_path / "odd.safetensors"
    predecoder.save_weights(random_network(), path, {}, policies=Policies(even_sides=False))
    circuit = qec.memory_circuit(distance=distance, rounds=3, noise=qec.depolarizing(0.01))
    dem = circuit.detector_error_model(decompose_errors=True)
    _assert_decoded_without(path, circuit, dem, match=r"x \d data qubits.*a side is even")
    with pytest.raises(qec.LayoutError, match="a side is even"):
        NeuralMatchingDecoder(weights=path, device="cpu", on_mismatch="fail").compile_decoder_for_dem(dem=dem)


@pytest.fixture(scope="module")
def without_reset() -> stim.Circuit:
    return qec.memory_circuit(distance=3, rounds=4, noise=qec.depolarizing(0.01), reset=False)


def test_circuits_without_reset_are_decoded_without_weights_that_never_saw_one(weights, without_reset):
    dem = without_reset.detector_error_model(decompose_errors=True)
    _assert_decoded_without(weights, without_reset, dem, match=r"rounds t and t - 2 .*trained with reset")
    for decoder in _decoders(weights):
        decoder.on_mismatch = "fail"
        with pytest.raises(qec.LayoutError, match="use a decoder without a network"):
            decoder.compile_decoder_for_dem(dem=dem)


def test_weights_trained_without_reset_are_used_there(tmp_path, random_network, without_reset):
    path = tmp_path / "without.safetensors"
    predecoder.save_weights(random_network(), path, {}, policies=Policies(without_reset=True))
    dem = without_reset.detector_error_model(decompose_errors=True)
    kinds = [type(decoder.compile_decoder_for_dem(dem=dem)) for decoder in _decoders(path)]
    assert kinds == [CompiledNeuralMatching, CompiledPredecoded, CompiledPredecoded]
    # With reset, too: nothing says that they are no good there.
    assert NeuralMatchingDecoder(weights=path, device="cpu").compile_decoder_for_dem(
        dem=_circuit(4).detector_error_model(decompose_errors=True)
    )


@pytest.mark.parametrize("rounds", [1, 2, 5])
@pytest.mark.parametrize("perfect", [False, True])
@pytest.mark.parametrize("noise", [qec.depolarizing(0.003), qec.si1000(0.002)])
def test_a_dem_says_whether_ancillas_are_reset(rounds, perfect, noise):
    """With one round there is nothing to tell."""
    for reset in (True, False):
        circuit = qec.memory_circuit(
            distance=3, rounds=rounds + perfect, noise=noise, perfect_last_round=perfect, reset=reset
        )
        expected = not reset and rounds + perfect > 1
        assert qec.DecodingProblem.from_circuit(circuit).lacks_reset == expected


def test_google_devices_reset_theirs(sycamore):
    for name in ("circuit_detector_error_model", "pij_from_odd_for_even"):
        dem = stim.DetectorErrorModel.from_file(str(sycamore / "r05" / f"{name}.dem"))
        assert not qec.DecodingProblem.from_dem(dem).lacks_reset


def test_no_shipped_network_is_used_without_reset():
    assert not any(load_bundle(name).policies.without_reset for name in shipped_weights())


def test_realtime_alone_is_not_used_where_a_side_is_even():
    assert [name for name in shipped_weights() if not load_bundle(name).policies.even_sides] == ["realtime"]
