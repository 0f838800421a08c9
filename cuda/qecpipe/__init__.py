"""CUDA kernels of the pipeline and the launch code around them.

The folder above this one must never hold an `__init__.py`: the `cuda.bindings` and `cuda.core`
packages share that namespace (PEP 420). Importing this package needs neither torch nor a GPU.

Public: `BlockedInput` (bit-packed detections to the network's blocked input) with
`blocked_input_reference` and `DeviceUnavailableError`; `quantize_moves_*` (the network's output to int8
logits of moves); `CorrectionTables`, `CommitRule` and `correct_arguments` (to residual and flips);
`cuda_status` and `DeviceStatus`; `compile_cubin`, `kernel_resources` and `KernelBuildError`;
`launch_kernel`, and `launch_on_cpu` for the same kernels on the CPU. `kernels/README.md` lists these.
"""

from cuda.qecpipe.blocked_input import BlockedInput, DeviceUnavailableError, blocked_input_reference
from cuda.qecpipe.compile import KernelBuildError, compile_cubin
from cuda.qecpipe.correct import CommitRule, CorrectionTables, correct_arguments
from cuda.qecpipe.device import DeviceStatus, cuda_status
from cuda.qecpipe.launch import launch_kernel
from cuda.qecpipe.launch_on_cpu import launch_on_cpu
from cuda.qecpipe.quantize_moves import (
    LogitType,
    quantize_moves_arguments,
    quantize_moves_entry,
    quantize_moves_reference,
)
from cuda.qecpipe.resources import KernelResources, kernel_resources

__all__ = [
    "BlockedInput",
    "CommitRule",
    "CorrectionTables",
    "DeviceStatus",
    "DeviceUnavailableError",
    "KernelBuildError",
    "KernelResources",
    "LogitType",
    "blocked_input_reference",
    "compile_cubin",
    "correct_arguments",
    "cuda_status",
    "kernel_resources",
    "launch_kernel",
    "launch_on_cpu",
    "quantize_moves_arguments",
    "quantize_moves_entry",
    "quantize_moves_reference",
]
