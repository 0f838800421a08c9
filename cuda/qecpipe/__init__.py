"""CUDA kernels of the pipeline and the launch code around them.

The folder above this one must never hold an `__init__.py`: the `cuda.bindings` and `cuda.core`
packages share that namespace (PEP 420). Importing this package needs neither torch nor a GPU.

Public: `BlockedInput` (bit-packed detections to the network's blocked input) with
`blocked_input_reference` and `DeviceUnavailableError`; `cuda_status` and `DeviceStatus`; `compile_cubin`
and `KernelBuildError`; `launch_kernel`. `cuda.qecpipe.cpu_build` builds the kernels for the CPU, for tests.
"""

from cuda.qecpipe.blocked_input import BlockedInput, DeviceUnavailableError, blocked_input_reference
from cuda.qecpipe.compile import KernelBuildError, compile_cubin
from cuda.qecpipe.device import DeviceStatus, cuda_status
from cuda.qecpipe.launch import launch_kernel

__all__ = [
    "BlockedInput",
    "DeviceStatus",
    "DeviceUnavailableError",
    "KernelBuildError",
    "blocked_input_reference",
    "compile_cubin",
    "cuda_status",
    "launch_kernel",
]
