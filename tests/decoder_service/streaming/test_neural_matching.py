"""A stream of neural-matching is the decoder of that name in windows, on whole shots."""

from typing import Any, Literal

import numpy as np
import pytest

from decoder_service.streaming import StreamDecoder
from decoder_service.streaming.commits import Flag
from global_decoders.windows import WindowSizes
from predecoder import NeuralMatchingDecoder, ShortExperimentWarning

Mode = Literal["sliding", "parallel"]
WEIGHTS = "realtime"


@pytest.mark.parametrize("mode", ["sliding", "parallel"])
def test_streams_equal_whole_shots(kit, mode: Mode) -> None:
    sizes = WindowSizes(3, 3, mode)
    decoder = StreamDecoder(
        kit.circuit(30), commit=3, buffer=3, mode=mode, decoder="neural-matching", predecoder=WEIGHTS
    )
    for rounds in (5, 34):
        experiment = kit.experiment(rounds, shots=8)
        whole = NeuralMatchingDecoder(weights=WEIGHTS, windows=sizes, precision="float32", device="cpu")
        expected = kit.whole(experiment.dem, experiment.detections, whole)
        for bits, answer in zip(experiment.measurements, expected, strict=True):
            result, _ = kit.stream(decoder, bits, rounds)
            assert result.frame == answer.tobytes()


def test_windows_that_cover_all_are_one_matching(kit) -> None:
    experiment = kit.experiment(8, shots=300, p=0.01)
    options: dict[str, Any] = {"weights": WEIGHTS, "device": "cpu"}
    whole = kit.whole(experiment.dem, experiment.detections, NeuralMatchingDecoder(**options))
    one = NeuralMatchingDecoder(windows=WindowSizes(9, 9, "sliding"), **options)
    assert np.array_equal(kit.whole(experiment.dem, experiment.detections, one), whole)
    several = NeuralMatchingDecoder(windows=WindowSizes(3, 3, "sliding"), **options)
    assert (kit.whole(experiment.dem, experiment.detections, several) != whole).mean() < 0.02


def test_shots_too_short_for_the_network_are_matched_without(kit) -> None:
    experiment = kit.experiment(2, shots=20, p=0.02)
    options: dict[str, Any] = {"decoder": "neural-matching", "predecoder": WEIGHTS}
    neural = StreamDecoder(experiment.circuit, commit=3, buffer=3, **options)
    plain = StreamDecoder(experiment.circuit, commit=3, buffer=3)
    answers = []
    with pytest.warns(ShortExperimentWarning):
        answers.append(kit.stream(neural, experiment.measurements[0], 2)[0])
    answers += [kit.stream(neural, bits, 2)[0] for bits in experiment.measurements[1:]]  # warned once
    expected = [kit.stream(plain, bits, 2)[0] for bits in experiment.measurements]
    assert [(a.frame, a.flags) for a in answers] == [(a.frame, a.flags) for a in expected]


def test_erased_rounds_and_a_reload_go_through(kit) -> None:
    experiment = kit.experiment(30, shots=2)
    decoder = StreamDecoder(
        kit.circuit(20), commit=3, buffer=3, decoder="neural-matching", predecoder=WEIGHTS
    )
    before = decoder.model
    for shot, bits in enumerate(experiment.measurements):
        rows, final = kit.rows(decoder, bits, 30)
        decoder.open(shot)
        for r, row in enumerate(rows):
            if r == 15 and shot == 0:
                assert decoder.reload(kit.dem(kit.circuit(20, p=0.004)), at_round=18) != before
            lost = r in (7, 21)
            decoder.push(r, None if lost else row, erased=lost)
        result = decoder.finish(final)
        assert result.flags == Flag.DEGRADED | (Flag.RELOADED if shot == 0 else Flag.NONE)
        assert result.commits[-1].upto_round == 31
