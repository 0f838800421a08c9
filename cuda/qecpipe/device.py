"""Whether a CUDA device can be used from here, or one sentence that says why not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

_DRIVER_LOADED = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class DeviceStatus:
    """What was found at one device index; `reason` is None exactly when kernels can run there."""

    reason: str | None
    """Why the device cannot be used, one sentence without a full stop; None where it can."""
    driver_found: bool = False
    """A CUDA driver is installed and started, so someone probably expects a GPU to be used."""
    name: str | None = None
    """The device's own name, once the driver has shown it."""
    arch: str | None = None
    """Its architecture in NVRTC's form, such as `"sm_90"`."""

    @property
    def usable(self) -> bool:
        return self.reason is None


def cuda_status(index: int = 0) -> DeviceStatus:
    """Look for CUDA device `index` (the driver's and torch's numbering); never raises for a missing part.

    Usable means: the driver shows the device, NVRTC is installed and can build for it, the driver
    can load what NVRTC builds, and torch, which owns memory and streams, can use it too.
    """
    if index < 0:
        raise ValueError(f"device index must be >= 0, not {index}")
    try:
        from cuda.bindings import driver, nvrtc  # pyright: ignore[reportAttributeAccessIssue]
        from cuda.core import Device  # pyright: ignore[reportAttributeAccessIssue]
    except ImportError as error:
        return DeviceStatus(f"a CUDA package is missing ({error}); run: pip install cuda-core cuda-python")
    problem = _driver_problem(driver, index)
    if problem is not None:
        return DeviceStatus(problem)
    device = Device(index)
    arch = f"sm_{device.arch}"
    problem = _compiler_problem(driver, nvrtc, arch) or _torch_problem(index)
    return DeviceStatus(problem, driver_found=True, name=device.name, arch=arch)


def torch_status(index: int = 0) -> DeviceStatus:
    """What torch alone knows of CUDA device `index`: at once, without what `cuda_status` needs."""
    return DeviceStatus(_torch_problem(index), driver_found=_DRIVER_LOADED.exists())


def _driver_problem(driver: ModuleType, index: int) -> str | None:
    from cuda.pathfinder import DynamicLibNotFoundError

    try:
        (result,) = driver.cuInit(0)
    except DynamicLibNotFoundError:
        return "no NVIDIA driver was found (its library, libcuda, is not on this machine)"
    except RuntimeError as error:  # the bindings' type for a driver without the entry points they need
        return f"the NVIDIA driver could not be loaded ({error})"
    if result != driver.CUresult.CUDA_SUCCESS:
        return f"the NVIDIA driver did not start ({result.name})"
    result, count = driver.cuDeviceGetCount()
    if result != driver.CUresult.CUDA_SUCCESS:
        return f"the NVIDIA driver could not list its devices ({result.name})"
    if index >= count:
        return f"the NVIDIA driver shows {count} device(s), so there is no device {index}"
    return None


def _compiler_problem(driver: ModuleType, nvrtc: ModuleType, arch: str) -> str | None:
    try:
        _, major, minor = nvrtc.nvrtcVersion()
    except RuntimeError:
        return "the kernel compiler NVRTC was not found; run: pip install nvidia-cuda-nvrtc"
    _, driver_version = driver.cuDriverGetVersion()  # 1000 * major + 10 * minor
    if driver_version // 1000 < major:
        found = f"{driver_version // 1000}.{driver_version % 1000 // 10}"
        return f"the NVIDIA driver supports CUDA {found}, but NVRTC {major}.{minor} builds for CUDA {major}"
    _, supported = nvrtc.nvrtcGetSupportedArchs()
    if int(arch.removeprefix("sm_")) not in supported:
        known = ", ".join(f"sm_{number}" for number in supported)
        return f"NVRTC {major}.{minor} cannot build for {arch}, only for {known}"
    return None


def _torch_problem(index: int) -> str | None:
    try:
        import torch
    except ImportError as error:
        return f"torch could not be imported ({error})"
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA; install a CUDA build of torch"
    if not torch.cuda.is_available() or index >= torch.cuda.device_count():
        return f"torch {torch.__version__} (CUDA {torch.version.cuda}) cannot use device {index}"
    return None
