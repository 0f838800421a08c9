"""Device detection: a sentence for each part that can be missing."""

import sys
from types import SimpleNamespace

import pytest
import torch
from cuda.pathfinder import DynamicLibNotFoundError

from cuda.qecpipe import DeviceStatus, cuda_status
from cuda.qecpipe import device as module

driver = pytest.importorskip("cuda.bindings.driver")


def test_status_here_is_consistent() -> None:
    status = cuda_status()
    if status.usable:
        assert status.arch is not None
        assert status.arch.startswith("sm_")
        assert torch.cuda.is_available()
    else:
        assert status.reason
        assert "\n" not in status.reason


def test_negative_index_is_rejected() -> None:
    with pytest.raises(ValueError, match="not -1"):
        cuda_status(-1)


def test_missing_package_names_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.core", None)
    assert "pip install cuda-core cuda-python" in (cuda_status().reason or "")


class FakeDriver:
    """A driver with two devices, as far as device detection looks."""

    CUresult = driver.CUresult

    def __init__(self, *, version: int = 13000, init: object = driver.CUresult.CUDA_SUCCESS) -> None:
        self.version, self.init = version, init

    def cuInit(self, flags: int) -> tuple[object]:
        if isinstance(self.init, Exception):
            raise self.init
        return (self.init,)

    def cuDeviceGetCount(self) -> tuple[object, int]:
        return driver.CUresult.CUDA_SUCCESS, 2

    def cuDriverGetVersion(self) -> tuple[object, int]:
        return driver.CUresult.CUDA_SUCCESS, self.version


class FakeNvrtc:
    def nvrtcVersion(self) -> tuple[int, int, int]:
        return 0, 13, 5

    def nvrtcGetSupportedArchs(self) -> tuple[int, list[int]]:
        return 0, [80, 90, 100]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Replaces the driver, NVRTC and the device by fakes; torch stays real."""
    import cuda.bindings
    import cuda.core

    def replace(fake_driver: FakeDriver, *, arch: str = "90") -> None:
        monkeypatch.setattr(cuda.bindings, "driver", fake_driver, raising=False)
        monkeypatch.setattr(cuda.bindings, "nvrtc", FakeNvrtc(), raising=False)
        monkeypatch.setattr(cuda.core, "Device", lambda index: SimpleNamespace(arch=arch, name="Fake GPU"))

    return replace


@pytest.mark.parametrize(
    ("init", "reason"),
    [
        (
            DynamicLibNotFoundError("cuda"),
            "no NVIDIA driver was found (its library, libcuda, is not on this machine)",
        ),
        (RuntimeError("cuInit not found"), "the NVIDIA driver could not be loaded (cuInit not found)"),
        (driver.CUresult.CUDA_ERROR_NO_DEVICE, "the NVIDIA driver did not start (CUDA_ERROR_NO_DEVICE)"),
    ],
)
def test_driver_that_does_not_start(machine, init: object, reason: str) -> None:
    machine(FakeDriver(init=init))
    assert cuda_status() == DeviceStatus(reason)


def test_device_that_is_not_there(machine) -> None:
    machine(FakeDriver())
    assert cuda_status(2).reason == "the NVIDIA driver shows 2 device(s), so there is no device 2"


def test_driver_older_than_nvrtc(machine) -> None:
    machine(FakeDriver(version=12080))
    status = cuda_status(1)
    assert status.reason == "the NVIDIA driver supports CUDA 12.8, but NVRTC 13.5 builds for CUDA 13"
    assert (status.driver_found, status.name, status.arch) == (True, "Fake GPU", "sm_90")


def test_architecture_nvrtc_does_not_know(machine) -> None:
    machine(FakeDriver(), arch="61")
    assert cuda_status().reason == "NVRTC 13.5 cannot build for sm_61, only for sm_80, sm_90, sm_100"


def test_torch_without_cuda(machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(FakeDriver())
    monkeypatch.setattr(torch.version, "cuda", None)
    assert (
        cuda_status().reason
        == f"torch {torch.__version__} is built without CUDA; install a CUDA build of torch"
    )
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert cuda_status(1).reason == f"torch {torch.__version__} (CUDA 13.0) cannot use device 1"


def test_everything_there(machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(FakeDriver())
    monkeypatch.setattr(module, "_torch_problem", lambda index: None)
    assert cuda_status() == DeviceStatus(None, driver_found=True, name="Fake GPU", arch="sm_90")
    assert cuda_status().usable
