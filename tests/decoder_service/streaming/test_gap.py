"""How sure a stream's last window is, against the gap of whole shots and against likelihoods."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import stim

from decoder_service.streaming.stream_decoder import StreamDecoder
from global_decoders import decode_with_gap, make_decoder
from predecoder import NeuralMatchingDecoder

ROUNDS = 4


def gaps_of(decoder: StreamDecoder, kit, experiment, *, rounds: int = ROUNDS) -> list[float | None]:
    """Of every shot."""
    found = []
    for shot, bits in enumerate(experiment.measurements.astype(np.uint8)):
        result, _ = kit.stream(decoder, bits, rounds, shot=shot)
        found.append(result.gap)
    return found


def whole_gaps(name: str, experiment) -> np.ndarray:
    """Of every shot, decoded as a whole."""
    compiled = make_decoder(name).compile_decoder_for_dem(dem=experiment.dem)
    packed = np.packbits(experiment.detections, axis=1, bitorder="little")
    return decode_with_gap(compiled, packed).gap[:, 0]


@pytest.fixture(scope="module")
def experiment(kit):
    return kit.experiment(ROUNDS, shots=150, p=0.02)


@pytest.mark.parametrize("mode", ["sliding", "parallel"])
def test_one_window_has_the_gap_of_the_whole_shot(kit, experiment, mode) -> None:
    decoder = StreamDecoder(
        experiment.circuit, commit=5, buffer=5, mode=mode, decoder="pymatching-correlated", gap=True
    )
    found = np.array(gaps_of(decoder, kit, experiment), dtype=float)
    assert found == pytest.approx(whole_gaps("pymatching-correlated", experiment), rel=1e-4)
    assert len(np.unique(found.round(6))) > 20


def test_one_window_of_plain_matching_has_it_too(kit) -> None:
    """Of a repetition code: it has no Y errors that are edges of their own."""
    circuit = stim.Circuit.generated(
        "repetition_code:memory", distance=5, rounds=ROUNDS, after_clifford_depolarization=0.02
    )
    measured = circuit.compile_sampler(seed=1).sample(150)
    detections = circuit.compile_m2d_converter().convert(measurements=measured, append_observables=False)
    experiment = SimpleNamespace(
        circuit=circuit,
        dem=circuit.detector_error_model(decompose_errors=True),
        measurements=measured,
        detections=detections,
    )
    decoder = StreamDecoder(circuit, commit=5, buffer=5, gap=True)
    found = np.array(gaps_of(decoder, kit, experiment), dtype=float)
    assert found == pytest.approx(whole_gaps("pymatching", experiment), rel=1e-4)
    assert len(np.unique(found.round(6))) > 5


def test_one_window_of_logits_has_the_gap_of_the_whole_shot(kit) -> None:
    experiment = kit.experiment(6, shots=40, p=0.02)
    options: dict[str, Any] = {"decoder": "neural-matching", "predecoder": "realtime-matching"}
    decoder = StreamDecoder(experiment.circuit, commit=7, buffer=7, **options, gap=True)
    whole = NeuralMatchingDecoder(weights="realtime-matching", device="cpu")
    packed = np.packbits(experiment.detections, axis=1, bitorder="little")
    expected = decode_with_gap(whole.compile_decoder_for_dem(dem=experiment.dem), packed).gap[:, 0]
    found = np.array(gaps_of(decoder, kit, experiment, rounds=6), dtype=float)
    assert found == pytest.approx(expected, rel=1e-4)


def test_what_earlier_windows_have_committed_is_taken_as_given(kit) -> None:
    """So the last window is surer than the whole shot, the more the less it sees."""
    experiment = kit.experiment(12, shots=150, p=0.02)
    options: dict[str, Any] = {"commit": 2, "decoder": "pymatching-correlated", "gap": True}
    little, much = (
        np.array(
            gaps_of(StreamDecoder(experiment.circuit, buffer=buffer, **options), kit, experiment, rounds=12),
            dtype=float,
        )
        for buffer in (3, 7)
    )
    whole = whole_gaps("pymatching-correlated", experiment)
    assert np.isfinite(little).all()
    assert little.mean() > much.mean() > whole.mean()


@pytest.mark.parametrize("name", ["pymatching-correlated", "neural-matching"])
def test_a_gap_changes_no_frame(kit, name) -> None:
    """One matching gives both."""
    experiment = kit.experiment(12, shots=60, p=0.02)
    options: dict[str, Any] = {"commit": 3, "buffer": 3, "decoder": name}
    if name == "neural-matching":
        options["predecoder"] = "realtime-matching"
    without, with_gap = (StreamDecoder(experiment.circuit, **options, gap=gap) for gap in (False, True))
    frames = [
        [kit.stream(decoder, bits.astype(np.uint8), 12)[0].frame for bits in experiment.measurements]
        for decoder in (without, with_gap)
    ]
    assert frames[0] == frames[1]
    assert len(set(map(bytes, frames[0]))) == 2


def test_there_is_none_where_none_was_asked_for_or_windows_have_none(kit) -> None:
    experiment = kit.experiment(12, shots=1)
    correlated: dict[str, Any] = {"decoder": "pymatching-correlated"}
    cases: list[dict[str, Any]] = [
        correlated,
        {"gap": True},
        correlated | {"gap": True, "predecoder": "realtime"},
    ]
    for options in cases:
        decoder = StreamDecoder(experiment.circuit, commit=2, buffer=2, **options)
        result, _ = kit.stream(decoder, experiment.measurements[0].astype(np.uint8), 12)
        assert result.gap is None, options


def why_no_gap(decoder: StreamDecoder, rounds: int) -> str:
    try:
        decoder.require_gap(rounds=rounds)
    except ValueError as error:
        return str(error)
    return ""


CHOICES: list[dict[str, Any]] = [
    {"decoder": "pymatching"},
    {"decoder": "pymatching-correlated"},
    {"decoder": "pymatching-correlated", "predecoder": "realtime"},
    {"decoder": "neural-matching", "predecoder": "realtime-matching"},
]


@pytest.mark.parametrize("mode", ["sliding", "parallel"])
@pytest.mark.parametrize("options", CHOICES, ids=lambda options: "+".join(options.values()))
def test_who_asks_is_told_whether_there_is_one(kit, options: dict[str, Any], mode: Any) -> None:
    """Of shots of every length: those too short for a network are matched without it, by plain matching."""
    experiment = kit.experiment(12, shots=1)
    decoder = StreamDecoder(experiment.circuit, commit=2, buffer=3, mode=mode, **options, gap=True)
    told = []
    for rounds in (4, 12, 30):
        told.append(not why_no_gap(decoder, rounds))
        bits = kit.experiment(rounds, shots=1).measurements[0].astype(np.uint8)
        result, _ = kit.stream(decoder, bits, rounds)
        assert (result.gap is not None) == told[-1], (rounds, told)
    has_some = options["decoder"] != "pymatching" and options.get("predecoder") != "realtime"
    assert any(told) == has_some
    assert has_some or why_no_gap(decoder, 12).startswith("gap=True with ")
    with pytest.raises(ValueError, match="cannot end with round 0"):
        decoder.require_gap(rounds=0)


def test_of_several_observables_there_is_none() -> None:
    dem = stim.DetectorErrorModel(
        "error(0.1) D0 L0\nerror(0.1) D0 D1 L1\nerror(0.1) D1\ndetector(0, 0, 0) D0\ndetector(0, 0, 1) D1"
    )
    decoder = StreamDecoder(dem, commit=1, buffer=1, gap=True)
    with pytest.raises(ValueError, match="gap=True with 2 observables"):
        decoder.require_gap(rounds=1)


def test_a_gap_is_by_how_much_a_class_is_likelier() -> None:
    """A repetition code of three bits, in one layer."""
    p = np.array([0.1, 0.05, 0.02])
    costs = 0.8 * (np.log1p(-p) - np.log(p))
    dem = stim.DetectorErrorModel(
        f"error({p[0]}) D0 L0\nerror({p[1]}) D0 D1\nerror({p[2]}) D1\n"
        "detector(0, 0, 0) D0\ndetector(1, 0, 0) D1"
    )
    decoder = StreamDecoder(dem, commit=1, buffer=1, gap=True)
    for fired, used in (([0, 0], None), ([1, 0], 0), ([1, 1], 1), ([0, 1], 2)):
        signs = [-1 if edge == used else 1 for edge in range(3)]
        decoder.open(0)
        assert decoder.finish(np.array(fired)).gap == pytest.approx(abs(np.dot(signs, costs)), rel=1e-4)
