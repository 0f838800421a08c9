"""From bit-packed shots to a network's logits: engines, the precision they compute in, and where they run.

`make_engine` picks an engine for a network and `EngineOptions`: C++ for separable networks on a CPU,
in float32 or int8 (`NativeEngine`), torch for everything else (`TorchEngine`). `LayerNetwork` is the engine
in C++ for experiments that come layer by layer, in the same bits. `infer_tiled` computes a volume by blocks,
`running` sets torch up for one run. `pipeline_stages` counts what a
decoder does on a GPU, for `cuda.qecpipe.cost.estimate`. Importing this package does not import torch.
"""

from predecoder.inference.cost import (
    CostedDecoder,
    Volume,
    host_seconds,
    network_stages,
    pipeline_stages,
    training_stages,
)
from predecoder.inference.device import running, select_device
from predecoder.inference.engine import Engine, make_engine
from predecoder.inference.engine_options import EngineOptions
from predecoder.inference.layer_kinds import LayerInputs
from predecoder.inference.layer_network import LayerNetwork, Repeats
from predecoder.inference.native_engine import NativeEngine
from predecoder.inference.precision import PRECISIONS, Precision, PrecisionChoice, choose_precision
from predecoder.inference.quantized_tables import QuantizationError, QuantizedTables
from predecoder.inference.tiles import Tile, halo_blocks, infer_tiled, tiles, with_halo
from predecoder.inference.torch_engine import TorchEngine, fitting_shots

__all__ = [
    "PRECISIONS",
    "CostedDecoder",
    "Engine",
    "EngineOptions",
    "LayerInputs",
    "LayerNetwork",
    "NativeEngine",
    "Precision",
    "PrecisionChoice",
    "QuantizationError",
    "QuantizedTables",
    "Repeats",
    "Tile",
    "TorchEngine",
    "Volume",
    "choose_precision",
    "fitting_shots",
    "halo_blocks",
    "host_seconds",
    "infer_tiled",
    "make_engine",
    "network_stages",
    "pipeline_stages",
    "running",
    "select_device",
    "tiles",
    "training_stages",
    "with_halo",
]
