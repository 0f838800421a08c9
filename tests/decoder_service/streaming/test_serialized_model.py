"""A model that was built by another process decodes as one that was built here."""

import numpy as np
import pytest
import stim

from decoder_service.server.build_process import BuildProcess, Model, Request, serialized_for
from decoder_service.streaming.serialized_model import SerializedModel
from decoder_service.streaming.stream_decoder import StreamDecoder


def _request(kit, decoder: StreamDecoder, inner: str, *, rounds: int, distance: int = 3) -> Request:
    old = Model(str(kit.circuit(20)), "circuit")
    new = Model(str(kit.dem(kit.circuit(24, p=0.004, distance=distance))), "dem")
    return Request(old, new, decoder.sizes, inner, decoder.weights, rounds)


@pytest.mark.parametrize("mode", ["sliding", "parallel"])
@pytest.mark.parametrize("inner", ["pymatching", "pymatching-correlated"])
def test_a_model_from_its_serialized_form_gives_the_same_answers(kit, mode, inner) -> None:
    experiment = kit.experiment(31, shots=60, p=0.02)
    plain, served = (
        StreamDecoder(experiment.circuit, commit=3, buffer=3, mode=mode, decoder=inner) for _ in range(2)
    )
    request = _request(kit, plain, inner, rounds=31)
    serialized = serialized_for(request)
    model = SerializedModel.decode(serialized.encode()).build()
    assert plain.reload(request.new.dem()) == model.id
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
        decoder.adopt(serialized_for(_request(kit, decoder, "pymatching", rounds=rounds)).build())
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


@pytest.mark.parametrize("mode", ["sliding", "parallel"])
def test_a_serialized_model_serves_behind_a_network(kit, mode) -> None:
    """When a shot ends, windows are left that a network held back and that see nothing of the end."""
    for rounds in (38, 39):
        circuit = _noisy(rounds)
        plain, served = (
            StreamDecoder(circuit, commit=1, buffer=1, mode=mode, predecoder="default") for _ in range(2)
        )
        model = Model(str(circuit), "circuit")
        serialized = serialized_for(Request(model, model, plain.sizes, "pymatching", plain.weights, rounds))
        served.adopt(serialized.build())
        for bits in circuit.compile_sampler(seed=rounds).sample(4):
            erased = frozenset({rounds - 3})
            expected, commits = kit.stream(plain, bits, rounds, erased=erased)
            found, also = kit.stream(served, bits, rounds, erased=erased)
            assert found.frame == expected.frame
            assert [c.frame for c in also] == [c.frame for c in commits]


def test_a_process_of_its_own_builds_it_or_says_why_not(kit) -> None:
    decoder = StreamDecoder(kit.circuit(20), commit=3, buffer=3)
    good = _request(kit, decoder, "pymatching", rounds=20)
    assert BuildProcess().prepare(good).id == serialized_for(good).id
    bad = _request(kit, decoder, "pymatching", rounds=20, distance=5)
    with pytest.raises(ValueError, match="other detectors than the stream in layer 0"):
        BuildProcess().prepare(bad)
