"""Precision is chosen: what is asked for is computed, on every machine, whatever torch is set to."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from global_decoders import make_decoder
from global_decoders.windows import LayeredDem
from predecoder import PredecodedDecoder, StreamPredecoder
from predecoder.correction import ThresholdPolicy
from predecoder.inference import EngineOptions, TorchEngine, choose_precision, make_engine, running
from predecoder.network import FusedDense, bfloat16_blocks

CPU = torch.device("cpu")


@pytest.fixture(params=[True, False], ids=["amx", "no-amx"])
def amx(request, monkeypatch) -> bool:
    """A machine whose processor says that it has AMX, and one that has none."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: request.param)
    return request.param


def _shots(model, shots: int) -> np.ndarray:
    return model.dem.compile_sampler(seed=3).sample(shots, bit_packed=True)[0]


@pytest.mark.parametrize(
    ("choice", "int8", "device", "expected"),
    [
        ("auto", "none", "cpu", "float32"),
        ("auto", "available", "cpu", "float32"),
        ("auto", "default", "cpu", "int8"),
        ("auto", "default", "cuda", "float32"),
        ("auto", "none", "cuda", "float32"),
        ("float32", "default", "cpu", "float32"),
        ("bfloat16", "default", "cpu", "bfloat16"),
        ("bfloat16", "none", "cuda", "bfloat16"),
        ("float16", "none", "cuda", "float16"),
        ("float16", "default", "cuda", "float16"),
        ("int8", "available", "cpu", "int8"),
        ("int8", "default", "cpu", "int8"),
    ],
)
def test_what_a_choice_means_depends_on_weights_and_device_alone(amx, choice, int8, device, expected):
    assert choose_precision(choice, int8=int8, device_type=device) == expected


def test_a_precision_that_is_not_there_is_refused(model, random_network):
    with pytest.raises(ValueError, match=r"'int8' needs a quantized network.*use 'float32'"):
        choose_precision("int8", int8="none", device_type="cpu")
    with pytest.raises(ValueError, match="'int8' is computed on CPUs only, not on 'cuda'"):
        choose_precision("int8", int8="default", device_type="cuda")
    with pytest.raises(
        ValueError, match="precision='fp16' is unknown; use one of auto, float32, bfloat16, float16, int8"
    ):
        choose_precision("fp16", int8="default", device_type="cpu")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="'float16' is computed on GPUs only, not on 'cpu'; use 'float32'"):
        choose_precision("float16", int8="default", device_type="cpu")
    for precision in ("int8", "float16"):
        with pytest.raises(ValueError, match="torch computes in float32 or bfloat16"):
            TorchEngine(model().problem, random_network(), device=CPU, precision=precision)
    with pytest.raises(ValueError, match=r"'int8' needs a quantized network.*use 'float32'"):
        StreamPredecoder(
            *(model().problem, random_network()),
            policy=ThresholdPolicy(),
            layers=LayeredDem.from_dem(model().dem),
            device=CPU,
            precision="int8",
        )


def test_float32_is_float32_whatever_the_processor_and_the_surroundings(amx, model, random_network):
    m, network = model(5, 4), random_network(2)
    packed = _shots(m, 6)
    engine = make_engine(m.problem, network, EngineOptions(CPU))
    assert engine.precision == "float32"
    got = engine(packed)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert np.array_equal(engine(packed), got)
    exact = TorchEngine(m.problem, network.double(), device=CPU)
    given = torch.from_numpy(exact._input(packed)).double().permute(0, 4, 1, 2, 3)
    with torch.inference_mode():
        blocked = network(given).permute(0, 2, 3, 4, 1).numpy()
    wanted = np.take(blocked.reshape(len(packed), -1), exact._places, axis=1)
    network.float()
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def test_bfloat16_runs_where_it_is_asked_for(amx, model, random_network):
    m, network = model(5, 4), random_network(2)
    packed = _shots(m, 6)
    exact = make_engine(m.problem, network, EngineOptions(CPU, precision="float32"))(packed)
    engine = make_engine(m.problem, network, EngineOptions(CPU, precision="bfloat16"))
    assert engine.precision == "bfloat16"
    error = np.abs(engine(packed) - exact).max() / exact.std()
    assert 1e-4 < error < 0.5


@pytest.mark.skipif(not FusedDense.runs(CPU), reason="the processor does not multiply in bfloat16")
@pytest.mark.parametrize(("distance", "rounds", "shots"), [(3, 1, 1), (5, 6, 7), (7, 3, 2)])
@pytest.mark.parametrize("noise_conditioned", [False, True])
def test_a_fused_dense_network_is_as_near_to_float32_as_its_blocks_in_bfloat16(
    model, random_network, distance, rounds, shots, noise_conditioned
):
    m = model(distance, rounds, "z", "ZH")
    network = random_network(rounds, channels=24, noise_conditioned=noise_conditioned)
    packed = _shots(m, shots)
    exact = make_engine(m.problem, network, EngineOptions(CPU))(packed)
    engine = TorchEngine(m.problem, network, device=CPU, precision="bfloat16")
    assert isinstance(engine._network, FusedDense)
    with bfloat16_blocks(network):
        by_torch = make_engine(m.problem, network, EngineOptions(CPU))(packed)
    error, least = (np.sqrt(np.mean((logits - exact) ** 2)) for logits in (engine(packed), by_torch))
    assert 0 < error < 2 * least
    alone = np.concatenate([engine(shot[None]) for shot in packed])
    np.testing.assert_allclose(alone, engine(packed), atol=8 * error)


def test_a_separable_network_in_bfloat16_is_not_run_in_float32(model, separable_network):
    m = model()
    engine = make_engine(m.problem, separable_network(), EngineOptions(CPU, precision="bfloat16"))
    assert engine.precision == "bfloat16"


@pytest.mark.parametrize(("weights", "own"), [("accurate", "float32"), ("fast", "int8")])
def test_a_decoder_says_its_precision(model, weights, own):
    decoder = PredecodedDecoder(make_decoder("pymatching"), weights=weights, device="cpu")
    assert decoder.precision == own
    for choice in ("float32", "bfloat16"):
        chosen = PredecodedDecoder(
            make_decoder("pymatching"),
            weights=weights,
            device="cpu",
            precision=choice,  # pyright: ignore[reportArgumentType]
        )
        assert chosen.precision == choice
    assert decoder.compile_decoder_for_dem(dem=model().dem).precision == own  # pyright: ignore


@pytest.mark.parametrize("threads", [0, -2])
def test_no_threads_are_refused(threads):
    with pytest.raises(ValueError, match=f"threads={threads} is less than 1; leave it out"):
        PredecodedDecoder(make_decoder("pymatching"), threads=threads)


def test_threads_and_settings_of_torch_are_as_before():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        seen = []
        for work, threads in ((1.0, None), (1.0, 2), (1e12, None), (1e12, 1)):
            with running(CPU, "float32", work=work, threads=threads):
                seen.append(torch.get_num_threads())
                assert torch.is_inference_mode_enabled()
            assert torch.get_num_threads() == 2
        assert seen == [1, 1, 2, 1]
        with pytest.raises(RuntimeError, match="here"), running(CPU, "float32", work=1.0):
            raise RuntimeError("here")
        assert torch.get_num_threads() == 2
        assert not torch.is_inference_mode_enabled()
    finally:
        torch.set_num_threads(before)


_OTHER_MACHINE = """
import sys
import numpy as np
from predecoder.inference import EngineOptions, make_engine

from predecoder import load_network
from qec import DecodingProblem, depolarizing, memory_circuit

circuit = memory_circuit(distance=5, rounds=5, basis="x", noise=depolarizing(0.006))
dem = circuit.detector_error_model(decompose_errors=True)
packed = dem.compile_sampler(seed=7).sample(40, bit_packed=True)[0]
problem = DecodingProblem.from_dem(dem)
for weights in ("accurate", "fast"):
    for precision in ("float32", "int8"):
        engine = make_engine(
            problem, load_network(weights), EngineOptions("cpu", precision=precision)
        )
        whole = engine(packed)
        assert np.array_equal(np.concatenate([engine(shot[None]) for shot in packed]), whole), weights
        np.save(f"{sys.argv[1]}/{weights}-{precision}.npy", whole)
"""


@pytest.mark.slow
def test_machines_with_other_instructions_agree(tmp_path):
    """float32 but for rounding, int8 in every bit; alone and in a batch, each machine agrees with itself."""
    machines = {
        "avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
        "avx512": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "ATEN_CPU_CAPABILITY": "avx512"},
        "all": {},
    }
    for name, settings in machines.items():
        (tmp_path / name).mkdir()
        subprocess.run(
            [sys.executable, "-c", _OTHER_MACHINE, str(tmp_path / name)],
            env=os.environ | settings,
            check=True,
        )
    for path in (tmp_path / "all").iterdir():
        expected = np.load(path)
        for name in machines:
            got = np.load(tmp_path / name / path.name)
            if "int8" in path.name:
                assert np.array_equal(got, expected)
            else:
                np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-3)
