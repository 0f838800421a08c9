"""The pre-decoder's way through GPUs: an engine, what it asks of a device, and the kernels.

The folder above this one must never hold an `__init__.py`: the `cuda.bindings` and `cuda.core`
packages share that namespace (PEP 420). Importing this package needs neither torch nor a GPU.

    CudaEngine(program, driver)     batches of shots through a device; `common_parts`, `in_order` for several
    Program, MoveLogits, Corrections    a network on a layout, and what is handed down of it
    Driver                          what is asked of a device: CudaDriver, a GPU; CpuDriver, a thread
    DeviceError                     and its kinds: DeviceMemoryError, GraphCaptureError, DeviceLostError
    cuda_status, torch_status       whether a GPU can be used: DeviceStatus
    Launch, launch_on_cpu           kernels; `kernels/README.md` lists them
    CorrectionTables, CommitRule    what `correct` is told
    compile_cubin, kernel_resources    what the compiler makes of them; KernelBuildError

References and arguments of single kernels are in their modules. `cuda.qecpipe.cost` predicts times.
"""

from cuda.qecpipe.blocked_input import blocked_input_reference
from cuda.qecpipe.compile import KernelBuildError, compile_cubin
from cuda.qecpipe.correct import CommitRule, CorrectionTables, correct_arguments
from cuda.qecpipe.cpu_driver import CpuDriver
from cuda.qecpipe.device import DeviceStatus, cuda_status, torch_status
from cuda.qecpipe.device_protocol import (
    DeviceError,
    DeviceLostError,
    DeviceMemoryError,
    Driver,
    GraphCaptureError,
)
from cuda.qecpipe.driver import CudaDriver
from cuda.qecpipe.engine import BATCH_SHOTS, CudaEngine, common_parts
from cuda.qecpipe.launch import Launch
from cuda.qecpipe.launch_on_cpu import launch_on_cpu
from cuda.qecpipe.pending import Pending, Worker, in_order
from cuda.qecpipe.program import Corrections, MoveLogits, Output, Program
from cuda.qecpipe.quantize_moves import (
    LogitType,
    quantize_moves_arguments,
    quantize_moves_entry,
    quantize_moves_reference,
)
from cuda.qecpipe.resources import KernelResources, kernel_resources

__all__ = [
    "BATCH_SHOTS",
    "CommitRule",
    "CorrectionTables",
    "Corrections",
    "CpuDriver",
    "CudaDriver",
    "CudaEngine",
    "DeviceError",
    "DeviceLostError",
    "DeviceMemoryError",
    "DeviceStatus",
    "Driver",
    "GraphCaptureError",
    "KernelBuildError",
    "KernelResources",
    "Launch",
    "LogitType",
    "MoveLogits",
    "Output",
    "Pending",
    "Program",
    "Worker",
    "blocked_input_reference",
    "common_parts",
    "compile_cubin",
    "correct_arguments",
    "cuda_status",
    "in_order",
    "kernel_resources",
    "launch_on_cpu",
    "quantize_moves_arguments",
    "quantize_moves_entry",
    "quantize_moves_reference",
    "torch_status",
]
