"""Files of exported graphs: what they hold, and that they run as the graphs do."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from predecoder import Policies, WeightsError, load_bundle, save_weights
from predecoder.export import Agreement, Reference, build_graph, load_graph, manifest, write_graph
from predecoder.export.calibration import _cut, quantized
from predecoder.network import Network
from qec import LayoutError

from ..conftest import Model


def _saved(network: Network, folder: Path, policies: Policies | None = None):
    path = folder / "net.safetensors"
    save_weights(network, path, {}, policies=policies)
    return load_bundle(path)


def _bits(model: Model, shots: int = 64, seed: int = 3) -> np.ndarray:
    detections = model.circuit.compile_detector_sampler(seed=seed).sample(shots)
    return np.asarray(detections, dtype=np.uint8)


def test_importing_the_door_does_not_import_torch() -> None:
    script = "import predecoder.export, sys; print('torch' in sys.modules or 'onnx' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_int8_has_qdq_around_the_convolutions_of_residual_blocks_alone(
    model: Callable[..., Model], separable_network: Callable[..., Network], tmp_path: Path
) -> None:
    here, network = model(), separable_network(1)
    bundle, path = _saved(network, tmp_path), tmp_path / "a.onnx"
    graph = build_graph(here.problem, bundle, name="logits")
    write_graph(graph, path, calibration=_bits(here, 128, seed=4))
    written = onnx.load(path)
    onnx.checker.check_model(written, full_check=True)
    nodes = {name: node for node in written.graph.node for name in node.output}
    constants = {one.name: numpy_helper.to_array(one) for one in written.graph.initializer}
    for convolution in (node for node in written.graph.node if node.op_type == "Conv"):
        of_input, weight = convolution.input[:2]
        made_by = [nodes[name].op_type if name in nodes else None for name in (of_input, weight)]
        quantized = made_by == ["DequantizeLinear", "DequantizeLinear"]
        name = nodes[weight].input[0] if quantized else weight
        assert quantized == ("pointwise" in nodes_source(nodes, name))
        if quantized:
            scale, zero = (constants[one] for one in nodes[weight].input[1:])
            weights = constants[nodes[nodes[weight].input[0]].input[0]]
            assert scale.shape == (len(weights),)
            assert not zero.any()
            assert zero.dtype == np.int8
            assert np.allclose(np.abs(weights).max(axis=(1, 2, 3, 4)), 127 * scale)
            assert constants[nodes[of_input].input[1]].shape == ()
    bits = _bits(here)
    write_graph(graph, tmp_path / "b.onnx")
    exact, rounded = (load_graph(tmp_path / name)(bits)[0] for name in ("b.onnx", "a.onnx"))
    assert not np.array_equal(exact, rounded)
    assert np.abs(exact - rounded).mean() < 0.02 * np.abs(exact).mean()


def nodes_source(nodes: dict, name: str) -> str:
    """The constant that a chain of nodes begins with."""
    while name in nodes:
        name = nodes[name].input[0]
    return name


@pytest.mark.parametrize("signed", [True, False])
def test_values_are_cut_off_where_the_square_error_is_least(signed: bool) -> None:
    values = np.abs(np.random.default_rng(5).normal(size=20_000)).astype(np.float32)
    values[0] = 12.0  # an outlier

    def error(cut: float) -> float:
        unit = cut / (127 if signed else 254)
        return float(((np.minimum(np.rint(values / unit), cut / unit) * unit - values) ** 2).sum())

    best = min(error(cut) for cut in np.linspace(1, 13, 2000))
    assert error(_cut(values, signed=signed)) < 1.1 * best
    assert _cut(np.zeros(3), signed=signed) == 0


def test_tables_for_int8_compute_the_same_but_for_rounded_weights(
    model: Callable[..., Model], separable_network: Callable[..., Network], tmp_path: Path
) -> None:
    here = model()
    graph = build_graph(here.problem, _saved(separable_network(1), tmp_path), name="logits")
    changed, scales = quantized(graph, _bits(here, 128, seed=4), batch_shots=64)
    assert sorted(scales) == ["network.trunk.0.pointwise", "network.trunk.1.pointwise"]
    for before, after in zip(graph.network.blocks, changed.network.blocks, strict=True):  # pyright: ignore
        assert after.centre is not None
        gain = after.spatial[:, 0, 1, 1, 1] / before.spatial[:, 0, 1, 1, 1]
        assert (gain > 0).all()
        exact = before.pointwise[..., 0, 0, 0] / gain
        assert np.abs(after.pointwise[..., 0, 0, 0] - exact).max() <= np.abs(exact).max() / 254 + 1e-6
        hidden = np.abs(np.random.default_rng(3).normal(size=(len(gain), 50))).astype(np.float32)
        got = after.pointwise[..., 0, 0, 0] @ (gain[:, None] * hidden - after.centre.reshape(-1, 1))
        wanted = after.pointwise[..., 0, 0, 0] @ (gain[:, None] * hidden)
        assert np.allclose(got + (after.pointwise_bias - before.pointwise_bias)[:, None], wanted, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["residual", "logits"])
def test_a_torch_export_file_runs_as_the_onnx_file(
    name: str, model: Callable[..., Model], separable_network: Callable[..., Network], tmp_path: Path
) -> None:
    here = model()
    bundle = _saved(separable_network(1), tmp_path)
    graph = build_graph(here.problem, bundle, name=name)  # pyright: ignore[reportArgumentType]
    write_graph(graph, tmp_path / "a.pt2", format="torch-export")
    write_graph(graph, tmp_path / "a.onnx")
    program = load_graph(tmp_path / "a.pt2", format="torch-export")
    session = load_graph(tmp_path / "a.onnx")
    for shots in (1, 7, 64):
        for ours, theirs in zip(program(_bits(here, shots)), session(_bits(here, shots)), strict=True):
            assert ours.dtype == theirs.dtype
            assert np.allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["residual", "logits"])
def test_the_file_decodes_as_the_engine(
    name: str, model: Callable[..., Model], separable_network: Callable[..., Network], tmp_path: Path
) -> None:
    here, path = model(), tmp_path / "a.onnx"
    bundle = _saved(separable_network(1), tmp_path)
    graph = build_graph(here.problem, bundle, name=name, steps=40)  # pyright: ignore[reportArgumentType]
    write_graph(graph, path)
    packed, truth = here.circuit.compile_detector_sampler(seed=5).sample(
        200, separate_observables=True, bit_packed=True
    )
    reference, exported = Reference(here.problem, bundle, graph), load_graph(path)
    counts = reference.compare(exported, packed, truth)
    errors = counts.errors
    assert errors > 0
    assert counts == Agreement(200, errors, errors, 0, 0, 0, 0)
    halves = [reference.compare(exported, packed[part], truth[part]) for part in (slice(80), slice(80, None))]
    assert halves[0] + halves[1] == counts

    def wrong(bits: np.ndarray) -> list[np.ndarray]:
        outputs = exported(bits)
        outputs[-1 if name == "logits" else 1][:3] *= -1 if name == "logits" else 0
        if name == "residual":
            outputs[1] = outputs[1] ^ (np.arange(len(bits)) < 3)[:, None].astype(np.uint8)
        return outputs

    assert reference.compare(wrong, packed, truth).different > 0


def test_the_manifest_says_what_was_exported(
    model: Callable[..., Model], separable_network: Callable[..., Network], tmp_path: Path
) -> None:
    here, path = model(4, 3, "z"), tmp_path / "a.onnx"
    bundle = _saved(separable_network(1), tmp_path)
    graph = build_graph(here.problem, bundle, name="logits")
    write_graph(graph, path)
    about = json.loads(
        json.dumps(
            manifest(
                graph, here.problem, bundle, path=path, name="b.onnx", format="onnx", precision="float32"
            )
        )
    )
    assert about["file"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert about["weights"]["sha256"] == bundle.file.sha256
    written = onnx.load(path)
    for described, tensors in (
        (about["inputs"], written.graph.input),
        (about["outputs"], written.graph.output),
    ):
        for one, tensor in zip(described, tensors, strict=True):
            assert one["name"] == tensor.name
            shape = [dim.dim_param or dim.dim_value for dim in tensor.type.tensor_type.shape.dim]
            assert one["shape"] == shape
            kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.type.tensor_type.elem_type)
            assert one["dtype"] == kind.name
    assert about["onnx"]["opset"] == written.opset_import[0].version
    layout = about["layout"]
    assert layout["detectors"] == here.layout.voxels.tolist()
    matrix = np.zeros(here.moves.matrix.shape, np.uint8)
    for move, detectors in enumerate(layout["move_detectors"]):
        matrix[detectors, move] = 1
    assert np.array_equal(matrix, here.moves.matrix.toarray())
    flips = np.zeros(here.moves.observables.shape, np.uint8)
    for move, observables in enumerate(layout["move_observables"]):
        flips[observables, move] = 1
    assert np.array_equal(flips, here.moves.observables.toarray())


def test_experiments_that_weights_are_not_for_are_refused(
    model: Callable[..., Model], random_network: Callable[..., Network], tmp_path: Path
) -> None:
    bundle = _saved(random_network(), tmp_path, Policies(min_rounds=3, even_sides=False))
    with pytest.raises(WeightsError, match="from 3 noisy rounds on, and here are 2"):
        build_graph(model(3, 2).problem, bundle)
    with pytest.raises(LayoutError, match="4 x 4 data qubits"):
        build_graph(model(4, 4).problem, bundle)
    here = model().problem
    with pytest.raises(ValueError, match="use graph 'residual'"):
        build_graph(here, bundle, name="logits", layout="cudaq")
    for wrong in ({"name": "moves"}, {"layout": "nchw"}):
        with pytest.raises(ValueError, match="is unknown"):
            build_graph(here, bundle, **wrong)  # pyright: ignore[reportArgumentType]
    graph = build_graph(here, bundle)
    with pytest.raises(ValueError, match="has no int8"):
        write_graph(graph, tmp_path / "a", format="torch-export", calibration=np.zeros((1, 24), np.uint8))
    for call in (write_graph, load_graph):
        with pytest.raises(ValueError, match="'tflite' is unknown"):
            call(*([graph] if call is write_graph else []), tmp_path / "a", format="tflite")  # pyright: ignore
