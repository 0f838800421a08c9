"""The pre-decoded decoder: consistent, deterministic, picklable, and useful inside sinter."""

import numpy as np
import pytest
import stim
import torch

import predecoder
import qec
from global_decoders import make_decoder
from predecoder import CompiledPredecoded, PredecodedDecoder, WeightsError
from predecoder.correction import ClusterDecision, ThresholdPolicy
from predecoder.inference import EngineOptions, select_device
from predecoder.network import DenseConfig

from .conftest import collected


@pytest.fixture(scope="module")
def weights(tmp_path_factory, random_network):
    """A weights file with random weights."""
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    predecoder.save_weights(random_network(), path, {"trained": False})
    return path


def _compiled(decoder, dem) -> CompiledPredecoded:
    compiled = decoder.compile_decoder_for_dem(dem=dem)
    assert isinstance(compiled, CompiledPredecoded)
    return compiled


def _shots(circuit: stim.Circuit, shots: int, seed: int = 1) -> np.ndarray:
    return np.asarray(circuit.compile_detector_sampler(seed=seed).sample(shots, bit_packed=True))


@pytest.mark.parametrize(("size", "basis"), [((3, 3), "x"), ((5, 4), "z")])
def test_prediction_is_the_global_answer_to_the_residual_xor_the_flips(model, weights, size, basis):
    """With random weights: every stage recomputed by hand from the sparse matrices."""
    m = model(*size, basis)
    decoder = PredecodedDecoder(make_decoder("pymatching"), weights=weights)
    compiled = _compiled(decoder, m.dem)
    packed = _shots(m.circuit, 40)
    moves = compiled.propose(packed)
    assert 0.05 < moves.mean() < 0.95
    y = moves
    bits = np.unpackbits(packed, axis=1, count=m.layout.num_detectors, bitorder="little")
    residual = (bits + (m.moves.matrix.astype(int) @ y.T).T) % 2
    flips = (m.moves.observables.astype(int) @ y.T).T % 2
    reference = (
        make_decoder("pymatching")
        .compile_decoder_for_dem(dem=m.dem)
        .decode_shots_bit_packed(
            bit_packed_detection_event_data=np.packbits(residual, axis=1, bitorder="little").astype(np.uint8)
        )
    )
    expected = reference ^ np.packbits(flips, axis=1, bitorder="little").astype(np.uint8)
    got = compiled.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
    assert np.array_equal(got, expected)


def test_decoding_is_deterministic_and_a_batch_equals_its_single_shots(model, weights):
    m = model(5, 5)
    packed = _shots(m.circuit, 64)
    compiled = _compiled(PredecodedDecoder(make_decoder("pymatching"), weights=weights), m.dem)
    together = compiled.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
    again = compiled.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
    single = [compiled.decode_shots_bit_packed(bit_packed_detection_event_data=s[None])[0] for s in packed]
    small = _compiled(PredecodedDecoder(make_decoder("pymatching"), weights=weights, batch_shots=7), m.dem)
    assert np.array_equal(together, again)
    assert np.array_equal(together, np.array(single))
    assert np.array_equal(together, small.decode_shots_bit_packed(bit_packed_detection_event_data=packed))


def test_a_volume_cut_into_tiles_decodes_to_the_same_bits(model, weights, monkeypatch):
    m = model(5, 5)
    packed = _shots(m.circuit, 30)
    decoder = PredecodedDecoder(make_decoder("pymatching"), weights=weights)
    whole = _compiled(decoder, m.dem).propose(packed)
    monkeypatch.setattr("predecoder.inference.torch_engine._BLOCKS_PER_TILE", 9)
    assert np.array_equal(_compiled(decoder, m.dem).propose(packed), whole)


class _Constant(torch.nn.Module):
    """Outputs the same logit everywhere."""

    config = DenseConfig()
    int8 = "none"

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit = logit

    def logits(self, x: torch.Tensor, noise_bias: None = None) -> torch.Tensor:
        return torch.full((len(x), 24, *x.shape[2:]), self.logit)


@pytest.mark.parametrize("logit", [1.0, -1.0])
def test_all_ones_and_all_zeros_are_consistent(model, logit):
    """All zeros is the plain global decoder; all ones changes the syndrome by M 1 and the answer by L 1."""
    m = model(3, 3)
    plain = make_decoder("pymatching").compile_decoder_for_dem(dem=m.dem)
    compiled = CompiledPredecoded(
        *(m.problem, _Constant(logit), plain),  # pyright: ignore
        decision=ClusterDecision(m.problem, ThresholdPolicy()),
        options=EngineOptions("cpu"),
    )
    packed = _shots(m.circuit, 200)
    answers = compiled.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
    if logit < 0:
        expected = plain.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
    else:
        odd = [np.asarray(a.sum(axis=1) % 2).ravel() for a in (m.moves.matrix, m.moves.observables)]
        change, flips = (np.packbits(a.astype(np.uint8), bitorder="little") for a in odd)
        residual = packed ^ change
        expected = plain.decode_shots_bit_packed(bit_packed_detection_event_data=residual) ^ flips
    assert np.array_equal(answers, expected)


@pytest.mark.parametrize("basis", ["x", "z"])
def test_any_residual_can_be_matched_after_a_last_round_without_noise(basis, random_network):
    """A move onto a detector that no mechanism flips would leave an event that nothing explains."""
    circuit = qec.memory_circuit(
        distance=3, rounds=3, basis=basis, noise=qec.depolarizing(0.01), perfect_last_round=True
    )
    dem = circuit.detector_error_model(decompose_errors=True)
    plain = make_decoder("pymatching").compile_decoder_for_dem(dem=dem)
    problem = qec.DecodingProblem.from_dem(dem)
    compiled = CompiledPredecoded(
        *(problem, random_network(), plain),
        decision=ClusterDecision(problem, ThresholdPolicy()),
        options=EngineOptions("cpu"),
    )
    answers = compiled.decode_shots_bit_packed(bit_packed_detection_event_data=_shots(circuit, 300))
    assert answers.shape == (300, 1)


def test_zero_shots_and_wrong_widths(model, weights):
    m = model(3, 3)
    compiled = _compiled(PredecodedDecoder(make_decoder("pymatching"), weights=weights), m.dem)
    empty = np.zeros((0, -(-m.layout.num_detectors // 8)), dtype=np.uint8)
    assert compiled.decode_shots_bit_packed(bit_packed_detection_event_data=empty).shape == (0, 1)
    with pytest.raises(ValueError, match=r"expected uint8 \(shots, 3\)"):
        compiled.decode_shots_bit_packed(bit_packed_detection_event_data=np.zeros((2, 4), dtype=np.uint8))


def test_runs_in_sinter_workers_after_pickling(model, weights):
    m = model(3, 3)
    decoder = PredecodedDecoder(make_decoder("pymatching"), weights=weights, threads=1)
    stats = collected(decoder, m.circuit)
    assert stats.shots == 300
    assert stats.errors > 0


def test_changed_weights_are_noticed(tmp_path, model, random_network):
    path = tmp_path / "w.safetensors"
    predecoder.save_weights(random_network(0), path, {})
    decoder = PredecodedDecoder(make_decoder("pymatching"), weights=path)
    predecoder.save_weights(random_network(1), path, {})
    with pytest.raises(WeightsError, match="changed from sha256"):
        decoder.compile_decoder_for_dem(dem=model().dem)


@pytest.mark.parametrize(
    "kwargs", [{"on_mismatch": "maybe"}, {"batch_shots": 0}, {"weights": "nowhere.safetensors"}]
)
def test_bad_arguments_are_named(kwargs, weights):
    with pytest.raises(ValueError, match="|".join(str(v) for v in kwargs.values())):
        PredecodedDecoder(make_decoder("pymatching"), **{"weights": weights, **kwargs})


def test_unknown_device_is_named():
    with pytest.raises(ValueError, match="'gpu' is unknown"):
        select_device("gpu")
