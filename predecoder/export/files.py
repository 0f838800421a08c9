"""Exported graphs as files, and files run again.

`onnx`: opset 20, run by onnxruntime, TensorRT, OpenVINO. `torch-export`: an `ExportedProgram` as
`torch.export` saves it. In either the number of shots is free.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from predecoder.export.graphs import Graph

__all__ = ["ExportFormat", "ExportPrecision", "load_graph", "write_graph"]

ExportFormat = Literal["onnx", "torch-export"]
ExportPrecision = Literal["float32", "int8"]

_SHOTS_TRACED = 2
"""torch.export takes a single one for a number that never changes."""


def write_graph(
    graph: Graph,
    path: Path,
    *,
    format: ExportFormat = "onnx",
    calibration: np.ndarray | None = None,
    batch_shots: int = 64,
) -> None:
    """Write a graph into a file.

    Args:
        path: replaced if it is there.
        calibration: uint8 0/1 `(shots, detectors)`: shots to quantize for; None for float32.
        batch_shots: of them that are computed at a time.

    Raises:
        ValueError: an unknown format, or one without int8.
    """
    if format == "onnx":
        from predecoder.export.onnx_operations import onnx_model

        scales = None
        if calibration is not None:
            from predecoder.export.calibration import quantized

            graph, scales = quantized(graph, calibration, batch_shots=batch_shots)
        path.write_bytes(onnx_model(graph, scales=scales).SerializeToString())
    elif format == "torch-export":
        if calibration is not None:
            raise ValueError("format 'torch-export' has no int8; use 'onnx', or precision 'float32'")
        path.write_bytes(_traced(graph))
    else:
        raise ValueError(f"format={format!r} is unknown; use 'onnx' or 'torch-export'")


def load_graph(path: Path, *, format: ExportFormat = "onnx") -> Callable[[np.ndarray], list[np.ndarray]]:
    """Load an exported file on the CPU: a function from uint8 0/1 `(shots, detectors)` to all outputs.

    Raises:
        ModuleNotFoundError: 'onnx' needs onnxruntime.
        ValueError: an unknown format.
    """
    import torch

    if format == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda bits: session.run(None, {name: bits})
    if format != "torch-export":
        raise ValueError(f"format={format!r} is unknown; use 'onnx' or 'torch-export'")
    with warnings.catch_warnings():
        _ignore_deprecations()
        module = torch.export.load(io.BytesIO(path.read_bytes())).module()

    def run(bits: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            return [output.numpy() for output in module(torch.from_numpy(bits))]

    return run


def _traced(graph: Graph) -> bytes:
    """The exported program of a graph, as torch saves it."""
    import torch

    from predecoder.export.torch_operations import TorchGraph

    example = torch.zeros((_SHOTS_TRACED, graph.num_detectors), dtype=torch.uint8)
    shots = torch.export.Dim("shots", min=1)
    saved = io.BytesIO()
    with warnings.catch_warnings():
        _ignore_deprecations()
        program = torch.export.export(TorchGraph(graph), (example,), dynamic_shapes=({0: shots},))
        torch.export.save(program, saved)
    return saved.getvalue()


def _ignore_deprecations() -> None:
    """torch.export warns of deprecated functions that it calls itself."""
    for category in (FutureWarning, DeprecationWarning):
        warnings.simplefilter("ignore", category)
