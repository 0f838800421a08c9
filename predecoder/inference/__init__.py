"""From bit-packed shots to a network's logits: engines, the precision they compute in, and where they run.

`make_engine` picks an engine for a network and `EngineOptions`: graphs of kernels on GPUs (`DeviceEngine`),
C++ on a CPU for separable networks, in float32 or int8, and for dense ones in int8 (`NativeEngine`), torch
for all else (`TorchEngine`). `measure_ranges` is what int8 needs of a dense network beside its weights.
`LayerNetwork` is the engine in C++ for experiments that come layer by layer, in the same bits, `TileEngine`
the one for tiles of a stream on a GPU. `infer_tiled` computes a volume by blocks, `running` sets torch up for
one run. `pipeline_stages` counts what a decoder does on a GPU, for `cuda.qecpipe.cost.estimate`. Importing
this package does not import torch.
"""

from predecoder.inference.calibration import measure_ranges
from predecoder.inference.cost import (
    CostedDecoder,
    Volume,
    host_seconds,
    network_stages,
    pipeline_stages,
    training_stages,
)
from predecoder.inference.dense_tables import DenseTables
from predecoder.inference.device import check_device, cuda_drivers, running, select_device, why_not_cuda
from predecoder.inference.device_engine import DeviceEngine
from predecoder.inference.engine import Engine, make_engine
from predecoder.inference.engine_options import EngineOptions
from predecoder.inference.layer_kinds import LayerInputs
from predecoder.inference.layer_network import LayerNetwork, Repeats
from predecoder.inference.native_engine import NativeEngine
from predecoder.inference.placed_network import LOGIT_STEP
from predecoder.inference.precision import PRECISIONS, Precision, PrecisionChoice, choose_precision
from predecoder.inference.quantized_tables import QuantizationError, QuantizedTables
from predecoder.inference.tile_engine import TileEngine
from predecoder.inference.tiles import Tile, halo_blocks, infer_tiled, tiles, with_halo
from predecoder.inference.torch_engine import TorchEngine, fitting_shots

__all__ = [
    "LOGIT_STEP",
    "PRECISIONS",
    "CostedDecoder",
    "DenseTables",
    "DeviceEngine",
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
    "TileEngine",
    "TorchEngine",
    "Volume",
    "check_device",
    "choose_precision",
    "cuda_drivers",
    "fitting_shots",
    "halo_blocks",
    "host_seconds",
    "infer_tiled",
    "make_engine",
    "measure_ranges",
    "network_stages",
    "pipeline_stages",
    "running",
    "select_device",
    "tiles",
    "training_stages",
    "why_not_cuda",
    "with_halo",
]
