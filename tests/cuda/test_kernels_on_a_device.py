"""Kernels queued on a device give the bits that the extension gives: on a GPU, or a CPU that stands in."""

from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
import torch

from cuda.qecpipe import CommitRule, CorrectionTables, LogitType, cuda_status, launch_on_cpu
from cuda.qecpipe.blocked_input import kernel_entry
from cuda.qecpipe.correct import THREADS, correct_arguments
from cuda.qecpipe.cpu_driver import CpuDriver
from cuda.qecpipe.driver import CudaDriver
from cuda.qecpipe.launch import Launch
from cuda.qecpipe.quantize_moves import quantize_moves_arguments, quantize_moves_entry
from predecoder.blocking import NetworkInput, blocked_places
from predecoder.correction.hyperedges import Hyperedges

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(params=DEVICES)
def driver(request: pytest.FixtureRequest) -> CpuDriver | CudaDriver:
    """A device to launch on; a GPU only where there is one."""
    if request.param == "cpu":
        return CpuDriver()
    status = cuda_status()
    if not status.usable:
        pytest.skip(f"no CUDA device: {status.reason}")
    return CudaDriver(0)


def check_same(
    driver: CpuDriver | CudaDriver,
    launch_of: Callable[[dict[str, int]], Launch],
    inputs: dict[str, np.ndarray],
    outputs: dict[str, int],
    *,
    compared: tuple[str, ...],
) -> None:
    """Run a launch on the device and in the extension, on outputs of so many bytes, and compare."""
    here = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
    made = {name: np.zeros(size, dtype=np.uint8) for name, size in outputs.items()}
    launch = launch_of({name: array.ctypes.data for name, array in (here | made).items()})
    launch_on_cpu(launch.entry, grid=launch.grid, block=launch.block, arguments=launch.arguments)

    there = {name: driver.table(array.reshape(-1).view(np.uint8)) for name, array in here.items()}
    made_there = {name: driver.memory((max(size, 1),), torch.uint8) for name, size in outputs.items()}
    event = driver.event()
    driver.record(event)
    driver.wait(event)  # memory is zero
    driver.launch(launch_of({name: tensor.data_ptr() for name, tensor in (there | made_there).items()}))
    driver.record(event)
    driver.wait(event)
    for name in compared:
        got = made_there[name].cpu().numpy()[: outputs[name]]
        np.testing.assert_array_equal(got, made[name], err_msg=name)
    assert made[compared[0]].any()


def shots_of(driver: CpuDriver | CudaDriver) -> int:
    return 64 if isinstance(driver, CpuDriver) else 1024


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "uint8"])
def test_blocked_input(driver, problem, dtype) -> None:
    layout = problem(5, 4).layout
    source = np.ascontiguousarray(np.moveaxis(NetworkInput(layout).source, -1, 0), dtype=np.int32)
    width, voxels, shots = -(-layout.num_detectors // 8), source[0].size, shots_of(driver)
    packed = np.random.default_rng(1).integers(0, 256, (shots, width), dtype=np.uint8)
    sizes = tuple(map(np.int64, (shots, width, voxels, layout.num_detectors)))

    def launch_of(at: dict[str, int]) -> Launch:
        pointers = (at["packed"], at["source"], at["out"])
        return Launch("blocked_input.cu", kernel_entry(dtype), 3, 256, (*pointers, *sizes))

    element = {"uint8": 1, "float32": 4}.get(dtype, 2)
    outputs = {"out": 16 * element * shots * voxels}
    check_same(driver, launch_of, {"packed": packed, "source": source}, outputs, compared=("out",))


@pytest.mark.parametrize("dtype", get_args(LogitType))
def test_quantize_moves(driver, problem, element_bits, dtype) -> None:
    p, shots = problem(5, 4), shots_of(driver)
    places, volume = blocked_places(p.layout, p.moves).astype(np.int32), 3 * int(np.prod(p.layout.shape))
    bits, _ = element_bits(np.random.default_rng(2).normal(-3, 9, (shots, volume)), dtype)

    def launch_of(at: dict[str, int]) -> Launch:
        grid, block, arguments = quantize_moves_arguments(
            **at, shots=shots, volume=volume, moves=len(places), scale=8.0
        )
        return Launch("quantize_moves.cu", quantize_moves_entry(dtype), grid, block, arguments)

    outputs = {"out": -(-shots * len(places) // 4) * 4}
    check_same(driver, launch_of, {"logits": bits, "places": places}, outputs, compared=("out",))


@pytest.mark.parametrize("dtype", get_args(LogitType))
@pytest.mark.parametrize("rule", [CommitRule(0.0, 0.0), CommitRule(0.0, 1.0), CommitRule(0.0, 0.5, True)])
def test_correct(driver, problem, element_bits, rule, dtype) -> None:
    p, shots = problem(5, 4), shots_of(driver)
    volume = 3 * int(np.prod(p.layout.shape))
    tables = CorrectionTables(
        p.moves.ends,
        blocked_places(p.layout, p.moves),
        p.moves.observables,
        num_detectors=p.layout.num_detectors,
        hyperedges=Hyperedges.of_problem(p).nodes,
    )
    bits, _ = element_bits(np.random.default_rng(3).normal(-3, 2, (shots, volume)), dtype)
    packed = p.dem.compile_sampler(seed=5).sample(shots, bit_packed=True)[0]
    grid = min(shots, 200)

    def launch_of(at: dict[str, int]) -> Launch:
        arguments = correct_arguments(
            tables,
            rule,
            dtype,
            logits=at["logits"],
            packed=at["packed"],
            on_device=at,
            shots=shots,
            volume=volume,
        )
        return Launch("correct.cu", "correct", grid, THREADS, arguments)

    outputs = {name: 4 * size for name, size in tables.buffer_words(shots=shots, grid=grid).items()}
    check_same(
        driver,
        launch_of,
        {"logits": bits, "packed": packed, **tables.arrays},
        outputs,
        compared=("moves", "residual", "flips"),
    )
