"""A model that was built by another process decodes as one that was built here."""

import numpy as np
import pytest
import stim

from decoder_service.building import BuildLimits, build_of, tables_for
from decoder_service.protocol import Open, Reload
from decoder_service.streaming.prepared import PreparedStream
from decoder_service.streaming.serialized_model import SerializedModel
from decoder_service.streaming.stream_decoder import StreamDecoder


def _serialized(old: object, new: object, *, rounds: int, **options) -> SerializedModel:
    """What a build makes of a RELOAD of a stream of the circuit `old`."""
    texts = {"0" * 64: str(old), "1" * 64: str(new)}
    kind = "circuit" if isinstance(new, stim.Circuit) else "dem"
    build = build_of(Open(model="0" * 64, rounds=rounds, **options), reload=Reload("1" * 64, kind))
    return SerializedModel.decode(tables_for(build, texts.__getitem__, BuildLimits()))


def _other(kit, *, distance: int = 3) -> stim.DetectorErrorModel:
    return kit.dem(kit.circuit(24, p=0.004, distance=distance))


@pytest.mark.parametrize("mode", ["sliding", "parallel"])
@pytest.mark.parametrize("inner", ["pymatching", "pymatching-correlated"])
def test_a_model_from_its_serialized_form_gives_the_same_answers(kit, mode, inner) -> None:
    experiment = kit.experiment(31, shots=60, p=0.02)
    plain, served = (
        StreamDecoder(experiment.circuit, commit=3, buffer=3, mode=mode, decoder=inner) for _ in range(2)
    )
    sizes = {"commit": 3, "buffer": 3, "mode": mode}
    model = _serialized(kit.circuit(20), _other(kit), rounds=31, decoder=inner, **sizes).build()
    assert plain.reload(_other(kit)) == model.id
    served.adopt(model)
    random = np.random.default_rng(5)
    for bits in experiment.measurements:
        erased = frozenset(np.flatnonzero(random.random(31) < 0.03).tolist())
        expected, commits = kit.stream(plain, bits, 31, erased=erased)
        found, also = kit.stream(served, bits, 31, erased=erased)
        assert found.frame == expected.frame
        assert [c.frame for c in also] == [c.frame for c in commits]


def test_a_serialized_model_holds_every_window_of_its_shots(kit) -> None:
    """Nothing can be cut from a skeleton, so a window that is missing would fail the shot."""
    circuit = kit.circuit(30)
    for rounds in (8, 9, 14, 16, 17, 39, 200):
        decoder = StreamDecoder(circuit, commit=3, buffer=2)
        model = _serialized(kit.circuit(20), _other(kit), rounds=rounds, commit=3, buffer=2)
        decoder.adopt(model.build())
        decoder.open(0)
        for r in range(rounds):
            decoder.push(r, np.zeros(decoder.width(r), dtype=np.uint8))
        result = decoder.finish(np.zeros(decoder.width(rounds, final=True), dtype=np.uint8))
        assert result.frame == b"\x00"


def _noisy(rounds: int) -> stim.Circuit:
    """Errors in data and readout alone: the last layers differ from others, but not as windows see them."""
    return stim.Circuit.generated(
        "surface_code:rotated_memory_x",
        distance=3,
        rounds=rounds,
        before_round_data_depolarization=0.02,
        before_measure_flip_probability=0.02,
    )


def test_a_model_that_does_not_fit_is_refused(kit) -> None:
    with pytest.raises(ValueError, match="other detectors than the stream in layer 0"):
        _serialized(kit.circuit(20), _other(kit, distance=5), rounds=20, commit=3, buffer=3)


@pytest.mark.parametrize("options", [{}, {"decoder": "pymatching-correlated", "mode": "parallel"}])
@pytest.mark.parametrize("input", ["measurements", "detectors"])
def test_a_whole_decoder_from_its_bytes_gives_the_same_answers(kit, options, input) -> None:
    experiment = kit.experiment(14, shots=40, p=0.02)
    plain = StreamDecoder(experiment.circuit, commit=3, buffer=3, input=input, **options)
    plain.warm(rounds=14)
    prepared = PreparedStream.decode(plain.prepared(rounds=14).encode())
    served = StreamDecoder.of(prepared)
    assert served.model == plain.model
    shots = experiment.measurements if input == "measurements" else experiment.detections
    random = np.random.default_rng(6)
    for bits in shots:
        erased = frozenset(np.flatnonzero(random.random(14) < 0.05).tolist())
        expected, commits = kit.stream(plain, bits, 14, erased=erased)
        found, also = kit.stream(served, bits, 14, erased=erased)
        assert (found.frame, found.readout) == (expected.frame, expected.readout)
        assert [c.frame for c in also] == [c.frame for c in commits]


def test_a_decoder_with_a_network_does_not_travel(kit) -> None:
    decoder = StreamDecoder(_noisy(12), commit=2, buffer=2, predecoder="default")
    with pytest.raises(ValueError, match="built where it decodes"):
        decoder.prepared(rounds=12)
