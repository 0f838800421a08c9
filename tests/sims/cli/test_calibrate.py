"""`qecpipe calibrate`: weights that are what they were, with ranges, and what is said of others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from predecoder import NeuralMatchingDecoder, load_bundle, save_weights
from predecoder.network import DenseConfig, DenseNetwork, make_network
from qec import depolarizing, memory_circuit

from ..conftest import Refused, RunCli


def _weights(path: Path, *, time_fold: int = 1) -> Path:
    torch.manual_seed(1)
    network = make_network(DenseConfig(8, 1, noise_conditioned=True, time_fold=time_fold))
    return save_weights(network, path, {"seed": 1}).path


def test_weights_are_what_they_were_and_run_in_int8(
    run_cli: RunCli, refused: Refused, tmp_path: Path
) -> None:
    source, out = _weights(tmp_path / "w.safetensors"), tmp_path / "int8.safetensors"
    err = refused("sweep", "--weights", source, "--precision", "int8", "--out", tmp_path / "a")
    assert "a dense one with ranges, which qecpipe calibrate measures" in err
    command = ("calibrate", "--weights", source, "--out", out, "--distance", 3, "--p", 0.01, "--shots", 8)
    code, text, err = run_cli(*command)
    assert (code, err) == (0, "")
    before, after = load_bundle(source), load_bundle(out)
    assert after.file.sha256 in text.replace("\n", "")
    assert after.file.card["calibrated"]["weights"] == before.file.sha256
    assert after.file.card["seed"] == 1
    for a, b in zip(before.network.state_dict().values(), after.network.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert isinstance(after.network, DenseNetwork)
    assert after.network.ranges is not None
    assert after.network.ranges.stream_high.max() > 0
    assert run_cli(*command)[0] == 2  # it exists

    circuit = memory_circuit(distance=3, rounds=4, basis="z", noise=depolarizing(0.01))
    dem = circuit.detector_error_model(decompose_errors=True)
    packed = dem.compile_sampler(seed=1).sample(50, bit_packed=True)[0]
    exact, quantized = (
        NeuralMatchingDecoder(weights=out, device="cpu", precision=precision).compile_decoder_for_dem(dem=dem)
        for precision in ("auto", "int8")
    )
    assert (exact.precision, quantized.precision) == ("float32", "int8")
    predictions = [
        decoder.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
        for decoder in (exact, quantized)
    ]
    assert np.count_nonzero(predictions[0] != predictions[1]) <= 2


def test_what_cannot_be_calibrated_is_refused(run_cli: RunCli, tmp_path: Path) -> None:
    folded, out = _weights(tmp_path / "w.safetensors", time_fold=2), tmp_path / "o.safetensors"
    for weights in ("fast", folded):
        code, _, err = run_cli("calibrate", "--weights", weights, "--out", out, "--distance", 3)
        assert code == 2
        assert "only dense networks with time_fold 1 are calibrated after their training" in err
    code, _, err = run_cli("calibrate", "--out", tmp_path / "o.onnx")
    assert code == 2
    assert "does not end in .safetensors" in err
