"""From bit-packed shots to a network's logits: engines, the precision they compute in, and where they run.

`make_engine` picks an engine for a network, a device and a precision: C++ where it can (`NativeNetwork` in
float32, `NativeQuantizedNetwork` in int8), NumPy for int8 without a compiler (`ReferenceQuantizedNetwork`),
torch for everything else (`TorchEngine`). `infer_tiled` computes a volume block by block, `running` sets
torch up for one run. Importing this package does not import torch.
"""

from predecoder.inference.device import running, select_device
from predecoder.inference.engine import Engine, make_engine
from predecoder.inference.native_float32 import NativeNetwork
from predecoder.inference.native_int8 import NativeQuantizedNetwork
from predecoder.inference.native_volumes import NativeVolumes
from predecoder.inference.precision import PRECISIONS, Precision, PrecisionChoice, choose_precision
from predecoder.inference.quantized_tables import QuantizationError, QuantizedTables
from predecoder.inference.reference_int8 import ReferenceQuantizedNetwork
from predecoder.inference.tiles import Tile, halo_blocks, infer_tiled, tiles, with_halo
from predecoder.inference.torch_engine import TorchEngine, fitting_shots

__all__ = [
    "PRECISIONS",
    "Engine",
    "NativeNetwork",
    "NativeQuantizedNetwork",
    "NativeVolumes",
    "Precision",
    "PrecisionChoice",
    "QuantizationError",
    "QuantizedTables",
    "ReferenceQuantizedNetwork",
    "Tile",
    "TorchEngine",
    "choose_precision",
    "fitting_shots",
    "halo_blocks",
    "infer_tiled",
    "make_engine",
    "running",
    "select_device",
    "tiles",
    "with_halo",
]
