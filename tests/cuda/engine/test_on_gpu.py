"""The engine on a GPU: the bits of the CPU's kernels, no allocation once warm, graphs as captured.

`pytest -m gpu` runs these; without a GPU they are skipped.
"""

import numpy as np
import pytest
import torch

import qec
from cuda.qecpipe import (
    CommitRule,
    Corrections,
    CorrectionTables,
    CpuDriver,
    CudaDriver,
    CudaEngine,
    DeviceMemoryError,
    GraphCaptureError,
    Program,
    in_order,
)
from cuda.qecpipe.driver import _fastest_algorithms
from cuda.qecpipe.program import Memory
from predecoder.blocking import NetworkInput, blocked_places
from predecoder.correction import ClusterDecision, MatchingDecision, ThresholdPolicy
from predecoder.inference import DeviceEngine, TileEngine, TorchEngine
from predecoder.weights import load_bundle
from qec import DecodingProblem

pytestmark = pytest.mark.gpu


def run(program: Program, driver: CpuDriver | CudaDriver, packed: np.ndarray) -> dict[str, np.ndarray]:
    """All that a program hands down of some shots."""
    engine = CudaEngine(program, driver, batch_shots=256)
    jobs = ((engine, packed[part]) for part in engine.parts(len(packed)))
    parts = [{name: found.copy() for name, found in results.items()} for results in in_order(jobs)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def experiment(
    distance: int, rounds: int, basis: qec.Basis = "x", *, shots: int = 300
) -> tuple[DecodingProblem, np.ndarray]:
    """A problem and shots of it."""
    circuit = qec.memory_circuit(distance=distance, rounds=rounds, basis=basis, noise=qec.depolarizing(0.006))
    packed = circuit.compile_detector_sampler(seed=distance).sample(shots, bit_packed=True)
    return DecodingProblem.from_circuit(circuit), np.asarray(packed)


@pytest.mark.parametrize("scale", [None, 8.0])
@pytest.mark.parametrize("count", [1, 5, 300, 1024])
def test_logits_have_the_bits_of_the_cpus_kernels(gpu, program, shots, scale, count) -> None:
    made, packed = program(scale), shots(count)
    found, expected = run(made, gpu, packed), run(made, CpuDriver(), packed)
    np.testing.assert_array_equal(found["logits"], expected["logits"], strict=True)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("empty_residual", [False, True])
@pytest.mark.parametrize(("distance", "rounds", "basis"), [(3, 1, "x"), (5, 6, "z"), (13, 13, "x")])
def test_corrections_have_the_bits_of_the_cpus_kernels(
    gpu, distance, rounds, basis, empty_residual, dtype
) -> None:
    """By logits that are exact in every type: small whole numbers, high where detections are."""
    problem, packed = experiment(distance, rounds, basis)
    policy = ThresholdPolicy(commit=2.0, residual="empty", clustering="hyperedges")
    hyperedges = ClusterDecision(problem, policy).hyperedges
    assert hyperedges is not None
    places = blocked_places(problem.layout, problem.moves)
    tables = CorrectionTables(
        problem.moves.ends,
        places,
        problem.moves.observables,
        num_detectors=problem.layout.num_detectors,
        hyperedges=hyperedges.nodes if empty_residual else None,
    )

    def network(x_BCtij: torch.Tensor) -> torch.Tensor:
        near = x_BCtij[:, :8].sum(1, keepdim=True)
        channel = torch.arange(24, device=x_BCtij.device, dtype=x_BCtij.dtype).reshape(1, 24, 1, 1, 1)
        return (2 * near - channel % 5).contiguous(memory_format=torch.channels_last_3d)

    made = Program(
        np.ascontiguousarray(np.moveaxis(NetworkInput(problem.layout).source, -1, 0), dtype=np.int32),
        problem.layout.num_detectors,
        network,
        dtype,
        places,
        Corrections(tables, CommitRule(0.0, 2.0, empty_residual=empty_residual)),
    )
    found, expected = run(made, gpu, packed), run(made, CpuDriver(), packed)
    assert rounds == 1 or expected["moves"].any()
    for name, bits in expected.items():
        np.testing.assert_array_equal(found[name], bits, strict=True)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("weights", ["realtime", "accurate"])
def test_no_allocation_once_it_is_warm(gpu, weights, precision) -> None:
    problem, packed = experiment(5, 5, shots=700)
    engine = DeviceEngine(
        problem, load_bundle(weights).network, drivers=[gpu], precision=precision, batch_shots=256
    )
    first = engine(packed)
    before = gpu.allocations(), torch.cuda.memory_stats()["num_device_alloc"]
    for _ in range(3):
        np.testing.assert_array_equal(engine(packed), first, strict=True)
    assert (gpu.allocations(), torch.cuda.memory_stats()["num_device_alloc"]) == before


@pytest.mark.parametrize("weights", ["realtime", "accurate"])
def test_a_graph_does_what_was_captured(gpu, weights) -> None:
    """Replayed with the next shots it gives the bits of the same work done step by step."""
    problem, packed = experiment(5, 5, shots=64)
    engine = DeviceEngine(problem, load_bundle(weights).network, drivers=[gpu], batch_shots=64)
    ((program,),) = ([of_piece._program for of_piece in engine._engines_for(engine._placed[0].output)[0]],)
    memory = Memory(program, gpu, Memory.load(program, gpu), shots=64)
    memory.packed[:] = packed
    memory.start()
    replayed = memory.results(64)["logits"].copy()
    assert replayed.any()
    host, on_device = memory._pairs["logits"]
    host.zero_()
    with gpu.on(memory.stream), _fastest_algorithms():
        on_device.zero_()
        memory._work()
        gpu.copy(host, on_device)
        gpu.record(memory.done)
    np.testing.assert_array_equal(memory.results(64)["logits"], replayed, strict=True)


@pytest.mark.parametrize("weights", ["realtime", "fast", "accurate"])
@pytest.mark.parametrize("distance", [3, 9])
def test_float32_predicts_as_the_cpu_does(gpu, weights, distance) -> None:
    problem, packed = experiment(distance, distance, shots=2000)
    network, decide = load_bundle(weights).network, MatchingDecision(problem)
    expected = TorchEngine(problem, network, device=torch.device("cpu"))(packed)
    found = DeviceEngine(problem, network, drivers=[gpu])(packed)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    flips = problem.moves.observables.toarray().T
    differ = ((decide(found, packed) ^ decide(expected, packed)) @ flips % 2).any(axis=1)
    assert differ.sum() <= 1  # of 2,000


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_types_predict_nearly_as_float32(gpu, precision) -> None:
    problem, packed = experiment(9, 9, shots=4000)
    network, decide = load_bundle("accurate").network, MatchingDecision(problem)
    flips = problem.moves.observables.toarray().T
    predictions = [
        decide(DeviceEngine(problem, network, drivers=[gpu], precision=one)(packed), packed) @ flips % 2
        for one in ("float32", precision)
    ]
    assert (predictions[0] != predictions[1]).sum() <= 40  # of 4,000, either way


def test_tiles_of_a_stream(gpu) -> None:
    network = load_bundle("accurate").network
    ours = TileEngine(network, gpu, precision="float32")
    theirs = TileEngine(network, CpuDriver(), precision="float32")
    rng = np.random.default_rng(2)
    grid = rng.integers(0, 2, (2, 8, 6, 6), dtype=np.uint8)
    grid[0] &= grid[1] & rng.integers(0, 2, grid[0].shape, dtype=np.uint8)
    features = rng.random((8, 8, 6, 6), dtype=np.float32)
    np.testing.assert_allclose(ours(grid, features), theirs(grid, features), atol=2e-3)


def test_every_gpu_shares_the_work(gpu) -> None:
    count = torch.cuda.device_count()
    if count < 2:
        pytest.skip("one GPU")
    problem, packed = experiment(5, 7, shots=500)
    network = load_bundle("accurate").network
    drivers = [CudaDriver(k) for k in range(count)]
    expected = DeviceEngine(problem, network, drivers=[gpu])(packed)
    for tile in (None, (1, 3, 3), (2, 2, 1)):
        found = DeviceEngine(problem, network, drivers=drivers, tile=tile, batch_shots=64)(packed)
        np.testing.assert_allclose(found, expected, atol=2e-3)


def test_less_memory_makes_smaller_batches(gpu) -> None:
    problem, packed = experiment(9, 9, shots=2048)
    engine = DeviceEngine(problem, load_bundle("accurate").network, drivers=[gpu], batch_shots=2048)
    gpu.release()
    allowed = torch.cuda.memory_reserved(0) + 2**29
    torch.cuda.set_per_process_memory_fraction(allowed / torch.cuda.get_device_properties(0).total_memory)
    try:
        found = engine(packed)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    ((made,),) = engine._engines.values()
    assert made[0].batch_shots < 2048
    expected = TorchEngine(problem, load_bundle("accurate").network, device=torch.device("cpu"))(packed[:200])
    np.testing.assert_allclose(found[:200], expected, atol=2e-3)


def test_a_network_that_waits_for_the_host_cannot_be_captured(gpu, program, shots) -> None:
    made = program()

    def network(x_BCtij: torch.Tensor) -> torch.Tensor:
        return made.network(x_BCtij) * float(x_BCtij.sum().item() >= 0)

    bad = Program(made.source, made.num_detectors, network, made.dtype, made.places, made.output)
    with pytest.raises(GraphCaptureError, match="cuda:0 failed to capture a graph"):
        CudaEngine(bad, gpu, batch_shots=4).warm(4)
    found, expected = run(made, gpu, shots(30)), run(made, CpuDriver(), shots(30))
    np.testing.assert_array_equal(found["logits"], expected["logits"], strict=True)


def test_more_than_there_is(gpu) -> None:
    with pytest.raises(DeviceMemoryError, match="cuda:0 has too little memory to allocate"):
        gpu.memory((1 << 50,), torch.uint8)
