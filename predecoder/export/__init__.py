"""Networks for other runtimes: graphs from detections to logits, or to a residual and observable flips.

`build_graph` makes a graph of weights on one decoding problem, `write_graph` writes it as ONNX (float32 or
int8) or as `torch.export` does, `load_graph` runs such a file on the CPU. `Reference` compares it with the
float32 engine on the same shots, and `manifest` describes the file. `ising_decoding_order` is the order of
detectors in CUDA-Q QEC's examples. Importing this package does not import torch.
"""

from predecoder.export.build import CLUSTER_STEPS, GraphName, TensorLayout, build_graph
from predecoder.export.comparison import Agreement, Reference
from predecoder.export.detector_order import ising_decoding_order, reordered
from predecoder.export.files import ExportFormat, ExportPrecision, load_graph, write_graph
from predecoder.export.graphs import Graph, JoinedGraph, LogitsGraph, Output, ResidualGraph
from predecoder.export.manifest import manifest, manifest_path

__all__ = [
    "CLUSTER_STEPS",
    "Agreement",
    "ExportFormat",
    "ExportPrecision",
    "Graph",
    "GraphName",
    "JoinedGraph",
    "LogitsGraph",
    "Output",
    "Reference",
    "ResidualGraph",
    "TensorLayout",
    "build_graph",
    "ising_decoding_order",
    "load_graph",
    "manifest",
    "manifest_path",
    "reordered",
    "write_graph",
]
