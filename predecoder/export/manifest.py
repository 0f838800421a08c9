"""What goes with an exported file: a JSON object that says what its tensors mean and how well it decodes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from predecoder.export.files import ExportFormat, ExportPrecision
from predecoder.export.graphs import Graph, JoinedGraph, LogitsGraph, ResidualGraph
from predecoder.weights import Bundle
from qec import DecodingProblem

__all__ = ["MANIFEST_REVISION", "manifest", "manifest_path"]

MANIFEST_REVISION = 1
_BITS = (
    "one byte for each bit, 0 or 1, in the order of the detectors or observables of the error model; bit k "
    "of a shot in Stim's b8 format (little-endian bits) is element k"
)
_RESIDUAL_NOT_HERE = (
    "the policies 'complete', 'consistent', 'abstain' and any matching on logits are no static graph and are "
    "not exported"
)


def manifest_path(path: Path) -> Path:
    """Where the manifest of an exported file stands."""
    return path.with_name(f"{path.name}.json")


def manifest(
    graph: Graph,
    problem: DecodingProblem,
    bundle: Bundle,
    *,
    path: Path,
    name: str,
    format: ExportFormat,
    precision: ExportPrecision,
) -> dict[str, Any]:
    """Describe an exported file.

    Args:
        path: of the file.
        name: that it will have.
    """
    data = path.read_bytes()
    layout = _layout(problem, moves=isinstance(graph, LogitsGraph))
    described: dict[str, Any] = {
        "manifest": MANIFEST_REVISION,
        "file": {"name": name, "format": format, "bytes": len(data), "sha256": _sha256(data)},
        "precision": precision,
        "weights": {"name": bundle.file.path.name, "sha256": bundle.file.sha256},
        "error_model": {"sha256": _sha256(str(problem.dem).encode())},
        "inputs": [
            {
                "name": graph.input,
                "dtype": "uint8",
                "shape": ["batch", graph.num_detectors],
                "meaning": "detections, 0/1",
            }
        ],
        "outputs": [
            {"name": one.name, "dtype": one.dtype, "shape": ["batch", one.elements], "meaning": one.meaning}
            for one in graph.outputs
        ],
        "bit_order": _BITS,
    }
    if format == "onnx":
        from predecoder.export.onnx_operations import IR_VERSION, OPSET

        described["onnx"] = {"opset": OPSET, "ir_version": IR_VERSION}
    residual = graph.residual if isinstance(graph, JoinedGraph) else graph
    if isinstance(residual, ResidualGraph):
        described["policy"] = _policy(residual)
    text = json.dumps(layout, separators=(",", ":"))
    return described | {"layout": {"sha256": _sha256(text.encode()), **layout}}


def _policy(graph: ResidualGraph) -> dict[str, Any]:
    policy = graph.policy
    return {
        "name": "threshold",
        "propose_above": policy.propose,
        "commit_from": policy.commit,
        "cluster_steps": 0 if policy.commits_all else graph.steps,
        "not_exported": _RESIDUAL_NOT_HERE,
    }


def _layout(problem: DecodingProblem, *, moves: bool) -> dict[str, Any]:
    """Where detectors stand, and, for logits, what every move flips."""
    layout = problem.layout
    described: dict[str, Any] = {
        "distance": layout.distance,
        "layers": layout.layers,
        "rows": layout.rows,
        "columns": layout.columns,
        "num_detectors": layout.num_detectors,
        "num_observables": layout.num_observables,
        "detector_fields": ["layer", "row", "column"],
        "detectors": layout.voxels.tolist(),
    }
    if not moves:
        return described
    of = problem.moves
    where = np.column_stack(np.unravel_index(of.positions, layout.move_mask.shape))
    flips = [
        of.observables.indices[a:b].tolist()
        for a, b in zip(of.observables.indptr, of.observables.indptr[1:], strict=False)
    ]
    return described | {
        "move_fields": ["kind", "layer", "row", "column"],
        "move_kinds": [
            "data flip that memory-type stabilizers see",
            "data flip that the others see",
            "measurement flip",
        ],
        "moves": where.tolist(),
        "move_detectors": [[int(d) for d in ends if d >= 0] for ends in of.ends.T],
        "move_observables": flips,
    }


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
