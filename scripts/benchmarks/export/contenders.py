"""One network, run by qecpipe's engines and, from its exported file, by onnxruntime and OpenVINO.

All take bit-packed shots and give logits, on one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime

from predecoder import Bundle
from predecoder.export import build_graph, write_graph
from predecoder.inference import EngineOptions, Precision, make_engine
from qec import DecodingProblem

Run = Callable[[np.ndarray], np.ndarray]

_CALIBRATION_SHOTS = 512


def exported_files(
    problem: DecodingProblem, bundle: Bundle, folder: Path, calibration: np.ndarray
) -> dict[str, Path]:
    """The logits graph in float32 and int8; files that are there are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    graph = build_graph(problem, bundle, name="logits")
    paths = {precision: folder / f"{precision}.onnx" for precision in ("float32", "int8")}
    if not paths["float32"].exists():
        write_graph(graph, paths["float32"])
    if not paths["int8"].exists():
        bits = _unpacked(problem, calibration[:_CALIBRATION_SHOTS])
        write_graph(graph, paths["int8"], calibration=bits, batch_shots=32)
    return paths


def contenders(
    problem: DecodingProblem, bundle: Bundle, files: dict[str, Path]
) -> Iterator[tuple[str, str, Run]]:
    """Runtime, precision and a function from packed shots to logits."""
    for precision in _precisions(bundle):
        options = EngineOptions("cpu", precision=precision, threads=1)
        yield "qecpipe", precision, make_engine(problem, bundle.network, options)
    for precision, path in files.items():
        yield "onnxruntime", precision, _onnxruntime(problem, path)
    for precision, hint, path in (
        ("float32", "f32", files["float32"]),
        ("bfloat16", "bf16", files["float32"]),
        ("int8", "f32", files["int8"]),
    ):
        yield "OpenVINO", precision, _openvino(problem, path, hint)


def _precisions(bundle: Bundle) -> tuple[Precision, ...]:
    if bundle.network.int8 == "default":
        return ("float32", "int8")
    return ("float32", "bfloat16") if bundle.network.int8 == "none" else ("float32", "bfloat16", "int8")


def _onnxruntime(problem: DecodingProblem, path: Path) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda packed: session.run(None, {"detections": _unpacked(problem, packed)})[0]


def _openvino(problem: DecodingProblem, path: Path, hint: str) -> Run:
    import openvino

    options = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    request = openvino.Core().compile_model(path, "CPU", options).create_infer_request()
    return lambda packed: request.infer({0: _unpacked(problem, packed)})[0]


def _unpacked(problem: DecodingProblem, packed: np.ndarray) -> np.ndarray:
    return np.unpackbits(packed, axis=1, count=problem.layout.num_detectors, bitorder="little")
