"""What every compiled decoder promises, whatever its accuracy."""

import pickle

import numpy as np
import pytest
import sinter
import stim

from global_decoders import decoder_names, is_available, make_decoder

ALL = pytest.mark.parametrize("name", decoder_names())


@pytest.fixture(scope="module")
def shots(memory) -> tuple[stim.DetectorErrorModel, np.ndarray]:
    """120 shots at d = 3, 3 rounds, p = 0.02, packed; the first is all zero."""
    circuit = memory(distance=3, rounds=3, p=0.02)
    packed = circuit.compile_detector_sampler(seed=11).sample(120, bit_packed=True)
    packed[0] = 0
    return circuit.detector_error_model(decompose_errors=True), packed


def decode(decoder: sinter.CompiledDecoder, packed: np.ndarray) -> np.ndarray:
    return decoder.decode_shots_bit_packed(bit_packed_detection_event_data=packed)


@ALL
def test_batch_equals_single_shots_in_any_order_and_again(name, shots, compiled):
    dem, packed = shots
    decoder = compiled(name, dem)
    batch = decode(decoder, packed)
    assert batch.any()
    np.testing.assert_array_equal(decode(decoder, packed), batch)
    singles = [decode(decoder, packed[i : i + 1])[0] for i in reversed(range(len(packed)))]
    np.testing.assert_array_equal(singles[::-1], batch)
    np.testing.assert_array_equal(decode(compiled(name, dem), packed), batch)


@ALL
def test_pickled_decoder_predicts_the_same(name, shots, compiled):
    dem, packed = shots
    expected = decode(compiled(name, dem), packed)
    copy = pickle.loads(pickle.dumps(make_decoder(name)))
    np.testing.assert_array_equal(decode(copy.compile_decoder_for_dem(dem=dem), packed), expected)


@ALL
def test_zero_syndrome_and_zero_shots(name, shots, compiled):
    dem, packed = shots
    decoder = compiled(name, dem)
    assert not decode(decoder, packed[:1]).any()
    none = decode(decoder, packed[:0])
    assert none.shape == (0, 1)
    assert none.dtype == np.uint8


@ALL
@pytest.mark.parametrize(
    "text",
    ["", "error(0.1) D0\nerror(0.1) D0 D8", "detector D8\nlogical_observable L0", "error(0.1) L0"],
    ids=["empty", "no observables", "no mechanisms", "no detectors"],
)
def test_degenerate_models(name, text, compiled):
    dem = stim.DetectorErrorModel(text)
    decoder = compiled(name, dem)
    for count in (0, 3):
        flips = decode(decoder, np.zeros((count, -(-dem.num_detectors // 8)), dtype=np.uint8))
        assert flips.shape == (count, -(-dem.num_observables // 8))
        assert flips.dtype == np.uint8
        assert not flips.any()


@ALL
def test_detections_with_no_observable_to_predict(name, compiled):
    decoder = compiled(name, stim.DetectorErrorModel("error(0.1) D0\nerror(0.1) D0 D8"))
    assert decode(decoder, np.array([[1, 0], [1, 1]], dtype=np.uint8)).shape == (2, 0)


@ALL
def test_many_observables_are_packed_little_endian(name, compiled):
    dem = stim.DetectorErrorModel("error(0.1) D0 L70 L3\nerror(0.1) D9 L0\nerror(0) D1 L1\nerror(0.2) D0 D9")
    flips = decode(compiled(name, dem), np.array([[1, 0], [0, 2], [1, 2]], dtype=np.uint8))
    assert flips.shape == (3, 9)
    fired = [np.flatnonzero(np.unpackbits(row, bitorder="little")).tolist() for row in flips]
    assert fired == [[3, 70], [0], []]


@pytest.mark.parametrize("name", [n for n in decoder_names() if n != "pymatching-correlated"])
def test_mechanisms_likelier_than_not(name, compiled):
    """PyMatching's correlations refuse such a DEM; the rest must start from what usually fired."""
    dem = stim.DetectorErrorModel("error(0.9) D0 D1 L0\nerror(0.05) D0\nerror(0.06) D1")
    flips = decode(compiled(name, dem), np.array([[0], [1], [3]], dtype=np.uint8))
    assert flips[:, 0].tolist() == [0, 1, 1]


@ALL
@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((2, 4), np.uint8),
        np.zeros((2, 24), np.bool_),
        np.zeros(3, np.uint8),
        np.zeros((2, 3), np.int64),
    ],
    ids=["too wide", "unpacked", "one-dimensional", "wide integers"],
)
def test_wrong_arrays_are_named(name, wrong, shots, compiled):
    dem, _ = shots
    assert dem.num_detectors == 24
    with pytest.raises(ValueError, match=r"need bit-packed uint8 of shape \(shots, 3\)"):
        decode(compiled(name, dem), wrong)


@ALL
def test_inexplicable_detections_are_an_error(name, compiled):
    dem = stim.DetectorErrorModel("error(0.1) D0 L0\ndetector D1")
    with pytest.raises(ValueError, match=r"shot 1: (D1 fired|no edges of the DEM)"):
        decode(compiled(name, dem), np.array([[1], [2]], dtype=np.uint8))


def test_every_available_decoder_runs_under_sinter(memory):
    """In sinter's own worker process, where decoders arrive pickled."""
    circuit = memory(distance=3, rounds=2, p=0.01)
    decoders = {name: make_decoder(name) for name in decoder_names() if is_available(name)}
    stats = sinter.collect(
        num_workers=1,
        tasks=[sinter.Task(circuit=circuit, decoder=name) for name in decoders],
        custom_decoders=decoders,
        max_shots=300,
        max_batch_size=300,
    )
    assert {s.decoder for s in stats} == set(decoders)
    for s in stats:
        assert s.shots == 300
        assert s.errors < 40  # half the shots would be guessing; the optimum is 3.7%
