"""Exported graphs against the engines and policies that they are made from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest

from predecoder import load_bundle
from predecoder.correction import ClusterDecision, Residual, ResidualNetwork, ThresholdPolicy, make_decision
from predecoder.export import Graph, JoinedGraph, LogitsGraph, ResidualGraph, build_graph
from predecoder.export.onnx_operations import onnx_model
from predecoder.export.tables import MoveTables, NetworkTables
from predecoder.inference import EngineOptions
from predecoder.network import Network
from qec import DecodingProblem, depolarizing, memory_circuit

from ..conftest import Model

ENOUGH_STEPS = 40
"""More than any cluster of a patch of distance 3 or 4 has moves in a row."""


def _run(graph: Graph, bits: np.ndarray) -> list[np.ndarray]:
    model = onnx_model(graph).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {graph.input: bits})


def _shots(model: Model, shots: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Detections, packed and one byte each."""
    packed, _ = model.circuit.compile_detector_sampler(seed=3).sample(
        shots, separate_observables=True, bit_packed=True
    )
    return packed, _unpacked(packed, model.layout.num_detectors)


def _unpacked(packed: np.ndarray, count: int) -> np.ndarray:
    return np.unpackbits(packed, axis=1, count=count, bitorder="little")


def _logits(model: Model, network: Network, packed: np.ndarray) -> np.ndarray:
    return ResidualNetwork(model.problem, network, EngineOptions("cpu")).logits(packed)


@pytest.mark.parametrize(
    ("family", "options", "experiment"),
    [
        ("random_network", {}, (3, 3, "x", "XV")),
        ("random_network", {"noise_conditioned": True}, (4, 2, "z", "ZH")),
        ("separable_network", {}, (3, 4, "z", "XH")),
        ("separable_network", {"noise_conditioned": True, "patch_embedding": 0}, (4, 5, "x", "ZV")),
        ("separable_network", {"noise_conditioned": True}, (5, 1, "x", "XV")),
    ],
)
def test_logits_are_those_of_the_engine(
    family: str,
    options: dict,
    experiment: tuple[int, int, str, str],
    model: Callable[..., Model],
    request: pytest.FixtureRequest,
) -> None:
    here, network = model(*experiment), request.getfixturevalue(family)(1, **options)
    packed, bits = _shots(here)
    graph = LogitsGraph(NetworkTables.of(here.problem, network), here.layout.num_detectors)
    (logits,) = _run(graph, bits)
    expected = _logits(here, network, packed)
    assert logits.dtype == np.float32
    assert np.allclose(logits, expected, rtol=1e-4, atol=1e-4)
    (alone,) = _run(graph, bits[5:6])
    assert np.allclose(alone, logits[5:6], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "policy",
    [ThresholdPolicy(), ThresholdPolicy(propose=0.5, commit=0.5), ThresholdPolicy(propose=1.0, commit=1.7)],
)
@pytest.mark.parametrize("experiment", [(3, 3, "x"), (4, 4, "z")])
def test_residual_and_flips_are_those_of_the_policy(
    policy: ThresholdPolicy,
    experiment: tuple[int, int, str],
    model: Callable[..., Model],
    random_network: Callable[..., Network],
) -> None:
    here, network = model(*experiment), random_network(2)
    packed, bits = _shots(here)
    tables = NetworkTables.of(here.problem, network), MoveTables.of(here.moves)
    moves = ClusterDecision(here.problem, policy)(_logits(here, network, packed), packed)
    assert 0 < moves.mean() < 0.5
    residual, flips = Residual(here.moves)(packed, moves)

    got, got_flips, settled = _run(ResidualGraph(*tables, policy, ENOUGH_STEPS), bits)
    assert settled.all()
    assert np.array_equal(got, _unpacked(residual, here.layout.num_detectors))
    assert np.array_equal(got_flips, _unpacked(flips, here.layout.num_observables))


def test_what_is_said_to_be_settled_is_the_policy_and_all_shots_are_consistent(
    model: Callable[..., Model], random_network: Callable[..., Network]
) -> None:
    here, network = model(4, 4), random_network(2)
    policy = ThresholdPolicy(propose=1.0, commit=1.7)
    packed, bits = _shots(here, 256)
    tables = NetworkTables.of(here.problem, network), MoveTables.of(here.moves)
    moves = ClusterDecision(here.problem, policy)(_logits(here, network, packed), packed)
    exact = _unpacked(Residual(here.moves)(packed, moves)[0], here.layout.num_detectors)
    earlier = -1
    for steps in (1, 2, 3, 5):
        residual, flips, settled = _run(ResidualGraph(*tables, policy, steps), bits)
        same = (residual == exact).all(axis=1)
        assert same[settled[:, 0] == 1].all()
        assert earlier <= settled.sum() < len(bits)
        earlier = settled.sum()
        # Any moves at all have a residual and flips that the moves' matrices relate.
        assert _explains(here, bits ^ residual, flips)
    assert not same.all()


def _explains(here: Model, removed: np.ndarray, flips: np.ndarray) -> bool:
    """Whether moves exist that flip exactly these detectors and observables, by elimination over GF(2)."""
    both = np.vstack([here.moves.matrix.toarray(), here.moves.observables.toarray()]) % 2
    wanted = np.hstack([removed, flips]).T.astype(np.uint8)
    rows = np.hstack([both, wanted]).astype(bool)
    rank = 0
    for column in range(both.shape[1]):
        pivots = np.flatnonzero(rows[rank:, column])
        if not len(pivots):
            continue
        rows[[rank, rank + pivots[0]]] = rows[[rank + pivots[0], rank]]
        others = np.flatnonzero(rows[:, column])
        rows[others[others != rank]] ^= rows[rank]
        rank += 1
        if rank == len(rows):
            break
    return not rows[rank:, both.shape[1] :].any()


def test_the_joined_output_is_flips_then_residual(
    model: Callable[..., Model], random_network: Callable[..., Network]
) -> None:
    here = model()
    _, bits = _shots(here)
    tables = NetworkTables.of(here.problem, random_network(2)), MoveTables.of(here.moves)
    graph = ResidualGraph(*tables, ThresholdPolicy(propose=0.0, commit=1.0), 3)
    joined = JoinedGraph(graph)
    residual, flips, _ = _run(graph, bits)
    written = onnx_model(joined)
    assert [one.name for one in written.graph.input] == ["dets"]
    assert [one.name for one in written.graph.output] == ["L_and_residual_dets"]
    (both,) = _run(joined, bits)
    assert both.dtype == np.uint8
    assert np.array_equal(both, np.hstack([flips, residual]))


def test_every_node_of_a_graph_is_needed(
    model: Callable[..., Model], separable_network: Callable[..., Network]
) -> None:
    here = model()
    tables = NetworkTables.of(here.problem, separable_network(1)), MoveTables.of(here.moves)
    graph = ResidualGraph(*tables, ThresholdPolicy(propose=0.0, commit=1.0), 2)
    for one in (graph, JoinedGraph(graph), LogitsGraph(tables[0], here.layout.num_detectors)):
        written = onnx_model(one).graph
        read = {name for node in written.node for name in node.input}
        made = {name for node in written.node for name in node.output}
        assert made - read == {output.name for output in written.output}
        assert {initializer.name for initializer in written.initializer} <= read


@pytest.mark.parametrize("commit", [1.3, 0.1, 2.0, 1 / 3])
def test_a_threshold_cuts_float32_numbers_as_in_float64(commit: float) -> None:
    from predecoder.export.graphs import _rounded_up

    bound = _rounded_up(commit)
    near = np.float32(commit)
    for number in (near, np.nextafter(near, np.float32(-9)), np.nextafter(near, np.float32(9))):
        assert (number < bound) == (float(number) < commit)


def test_policies_that_need_more_than_a_static_graph_are_refused(
    model: Callable[..., Model], random_network: Callable[..., Network]
) -> None:
    here = model()
    tables = NetworkTables.of(here.problem, random_network(2)), MoveTables.of(here.moves)
    with pytest.raises(ValueError, match="use the policy 'threshold'"):
        ResidualGraph(*tables, ThresholdPolicy(residual="empty", clustering="hyperedges"), 3)
    with pytest.raises(ValueError, match="steps=0"):
        ResidualGraph(*tables, ThresholdPolicy(), 0)


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["fast", "realtime", "accurate"])
def test_shipped_weights_commit_the_same_moves_on_ten_thousand_shots(weights: str) -> None:
    circuit = memory_circuit(distance=3, rounds=3, basis="x", noise=depolarizing(0.006))
    problem, bundle = DecodingProblem.from_circuit(circuit), load_bundle(weights)
    packed, _ = circuit.compile_detector_sampler(seed=3).sample(
        10_240, separate_observables=True, bit_packed=True
    )
    bits = _unpacked(packed, problem.layout.num_detectors)
    network = ResidualNetwork(problem, bundle.removal_network, EngineOptions("cpu", precision="float32"))
    moves = make_decision(bundle.policies, "threshold", problem)(network.logits(packed), packed)
    residual, flips = network.apply(packed, moves)
    got, got_flips, settled = _run(build_graph(problem, bundle), bits)
    assert settled.all()
    assert np.array_equal(got, _unpacked(residual, problem.layout.num_detectors))
    assert np.array_equal(got_flips, _unpacked(flips, problem.layout.num_observables))
