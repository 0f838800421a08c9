"""A network before a stream's windows changes no bit against the network on the whole shot."""

import dataclasses
from typing import Any, Literal

import numpy as np
import pytest
import stim

from decoder_service.streaming.stream_decoder import StreamDecoder
from global_decoders.windows import WindowedDecoder, WindowSizes
from predecoder import (
    CompiledPredecoded,
    EngineOptions,
    NeuralMatchingDecoder,
    load_bundle,
    save_weights,
)
from predecoder.correction import automatic_policy, make_decision
from qec import DecodingProblem


def _whole_shots(windowed: WindowedDecoder, dem: stim.DetectorErrorModel, weights: str) -> CompiledPredecoded:
    """A network with a stream's policy, on whole shots."""
    bundle, problem = load_bundle(weights), DecodingProblem.from_dem(dem)
    policy = automatic_policy(windowed, stream=True)
    return CompiledPredecoded(
        problem,
        bundle.removal_network,
        windowed.compile_decoder_for_dem(dem=dem),
        options=EngineOptions("cpu"),
        decision=make_decision(bundle.policies, policy, problem),
    )


@pytest.mark.parametrize("mode", ["sliding", "parallel"])
@pytest.mark.parametrize(
    ("inner", "weights"),
    [
        ("pymatching", "default"),
        ("pymatching-correlated", "default"),
        ("pymatching", "realtime"),  # in int8
        ("pymatching-correlated", "fast"),  # with noise features
    ],
)
def test_streams_equal_whole_shots(
    kit, mode: Literal["sliding", "parallel"], inner: str, weights: str
) -> None:
    """One decoder for measurements of 5 to 40 rounds: shorter and longer than the network sees.

    Before correlated matching the network's policy is complete: it leaves nothing of the clusters it takes.
    """
    decoder = StreamDecoder(kit.circuit(30), commit=3, buffer=3, mode=mode, decoder=inner, predecoder=weights)
    windowed = WindowedDecoder(inner=inner, commit=3, buffer=3, mode=mode)
    for rounds in (5, 40):
        experiment = kit.experiment(rounds, shots=12)
        expected = _whole_shots(windowed, experiment.dem, weights).decode_shots_bit_packed(
            bit_packed_detection_event_data=np.packbits(experiment.detections, axis=1, bitorder="little")
        )
        for bits, answer in zip(experiment.measurements, expected, strict=True):
            result, commits = kit.stream(decoder, bits, rounds)
            assert result.frame == answer.tobytes()
            assert result.rounds == rounds + 1
            assert [c.upto_round for c in result.commits][-1] == rounds + 1
        assert bool(commits) == (rounds == 40)


@pytest.fixture(scope="module")
def without_reset(tmp_path_factory) -> str:
    """Weights that shipped ones give to circuits without mid-circuit reset, as if trained there."""
    bundle = load_bundle("realtime")
    path = tmp_path_factory.mktemp("weights") / "without.safetensors"
    policies = dataclasses.replace(bundle.policies, without_reset=True)
    save_weights(bundle.network, path, {}, policies=policies)
    return str(path)


@pytest.mark.parametrize(
    "inner", ["pymatching-correlated", pytest.param("pymatching", marks=pytest.mark.slow)]
)
def test_streams_without_reset_equal_whole_shots(kit, without_reset: str, inner: str) -> None:
    decoder = StreamDecoder(
        kit.circuit(24, reset=False), commit=3, buffer=3, decoder=inner, predecoder=without_reset
    )
    windowed = WindowedDecoder(inner=inner, commit=3, buffer=3, mode="sliding")
    for rounds in (7, 21):
        experiment = kit.experiment(rounds, shots=8, reset=False)
        expected = _whole_shots(windowed, experiment.dem, without_reset).decode_shots_bit_packed(
            bit_packed_detection_event_data=np.packbits(experiment.detections, axis=1, bitorder="little")
        )
        for bits, answer in zip(experiment.measurements, expected, strict=True):
            assert kit.stream(decoder, bits, rounds)[0].frame == answer.tobytes()


def test_neural_matching_without_reset_equals_whole_shots(kit, without_reset: str) -> None:
    options: dict[str, Any] = {"decoder": "neural-matching", "predecoder": without_reset}
    decoder = StreamDecoder(kit.circuit(24, reset=False), commit=3, buffer=3, **options)
    whole = NeuralMatchingDecoder(
        weights=without_reset, windows=WindowSizes(3, 3, "sliding"), precision="float32", device="cpu"
    )
    experiment = kit.experiment(26, shots=8, reset=False)
    expected = kit.whole(experiment.dem, experiment.detections, whole)
    for bits, answer in zip(experiment.measurements, expected, strict=True):
        assert kit.stream(decoder, bits, 26)[0].frame == answer.tobytes()


def test_weights_trained_with_reset_are_refused_without(kit) -> None:
    with pytest.raises(ValueError, match=r"rounds t and t - 2 .*use a decoder without a network"):
        StreamDecoder(kit.circuit(20, reset=False), commit=3, buffer=3, predecoder="realtime")


def test_detectors_and_measurements_give_the_same_commits(kit) -> None:
    experiment = kit.experiment(36, shots=4)
    options = {"commit": 3, "buffer": 3, "predecoder": "default", "clock": lambda: 0}
    measured, detected = (StreamDecoder(x, **options) for x in (experiment.circuit, experiment.dem))
    for bits, detections in zip(experiment.measurements, experiment.detections, strict=True):
        (a, early_a), (b, early_b) = kit.stream(measured, bits, 36), kit.stream(detected, detections, 36)
        assert [(c.upto_round, c.frame) for c in early_a] == [(c.upto_round, c.frame) for c in early_b]
        assert a.frame == b.frame


def test_the_network_is_part_of_the_models_name(kit) -> None:
    plain = StreamDecoder(kit.circuit(20), commit=3, buffer=3)
    network = StreamDecoder(kit.circuit(20), commit=3, buffer=3, predecoder="default")
    assert network.model != plain.model


def test_erased_rounds_and_a_reload_go_through(kit) -> None:
    experiment = kit.experiment(40, shots=1)
    decoder = StreamDecoder(experiment.circuit, commit=3, buffer=3, predecoder="default")
    decoder.warm()
    rows, final = kit.rows(decoder, experiment.measurements[0], 40)
    decoder.open(0)
    upto = []
    for r, row in enumerate(rows):
        if r == 20:
            decoder.reload(kit.dem(kit.circuit(20, p=0.004)), at_round=24)
        lost = r in (7, 8, 30)
        upto += [c.upto_round for c in decoder.push(r, None if lost else row, erased=lost)]
    result = decoder.finish(final)
    upto += [c.upto_round for c in result.commits]
    assert upto == sorted(set(upto))
    assert upto[-1] == result.rounds == 41
    assert np.frombuffer(result.frame, np.uint8)[0] in (0, 1)


@pytest.mark.parametrize("inner", ["pymatching", "pymatching-correlated"])
def test_what_always_happens_is_hidden_from_the_network(kit, inner: str) -> None:
    """Errors of 1 - p in place of p change every shot in one way, and every answer."""
    rounds = 15
    experiment = kit.experiment(rounds, shots=8)
    turned, certain = stim.DetectorErrorModel(), []
    for k, op in enumerate(experiment.dem.flattened()):
        assert isinstance(op, stim.DemInstruction)
        if op.type == "error" and k % 40 == 7:
            certain.append(op)
            targets = [t for t in op.targets_copy() if isinstance(t, stim.DemTarget)]
            op = stim.DemInstruction("error", [1 - op.args_copy()[0]], targets)
        turned.append(op)
    always, answer = np.zeros(experiment.dem.num_detectors, dtype=np.uint8), 0
    for target in (t for op in certain for t in op.targets_copy() if isinstance(t, stim.DemTarget)):
        if target.is_relative_detector_id():
            always[target.val] ^= 1
        answer ^= target.is_logical_observable_id()
    assert len(certain) > 10
    assert always.any()
    options = {"commit": 3, "buffer": 3, "predecoder": "default", "decoder": inner}
    plain, other = (StreamDecoder(dem, **options) for dem in (experiment.dem, turned))
    for bits in experiment.detections.astype(np.uint8):
        (expected, _), (found, _) = kit.stream(plain, bits, rounds), kit.stream(other, bits ^ always, rounds)
        assert found.frame[0] == expected.frame[0] ^ answer
