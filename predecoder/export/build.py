"""From weights and a decoding problem to a graph, for experiments that the weights are made for."""

from __future__ import annotations

from typing import Literal

from predecoder.applicability import check_fits, noisy_rounds
from predecoder.export.graphs import Graph, JoinedGraph, LogitsGraph, ResidualGraph
from predecoder.export.tables import MoveTables, NetworkTables
from predecoder.weights import Bundle, WeightsError
from qec import DecodingProblem

__all__ = ["CLUSTER_STEPS", "GraphName", "TensorLayout", "build_graph"]

GraphName = Literal["residual", "logits"]
TensorLayout = Literal["qecpipe", "cudaq"]

CLUSTER_STEPS = 6
"""At p = 0.006 no shot of some ten thousand needs more than 4, up to d = 13 (docs/results/export.md)."""


def build_graph(
    problem: DecodingProblem,
    bundle: Bundle,
    *,
    name: GraphName = "residual",
    layout: TensorLayout = "qecpipe",
    steps: int = CLUSTER_STEPS,
) -> Graph:
    """Make a graph of a network on one decoding problem.

    Args:
        problem: whose noise features become constants.
        bundle: network and policies.
        name: 'residual', of the policy 'threshold', or 'logits', to be matched.
        layout: 'cudaq' for one output of flips and residual.
        steps: see `ResidualGraph`.

    Raises:
        LayoutError: the weights are not used on such a patch, or circuit.
        WeightsError: the experiment is shorter than the weights are used for.
        ValueError: an unknown name, or 'cudaq' without a residual.
    """
    policies = bundle.policies
    check_fits(problem, even_sides=policies.even_sides, without_reset=policies.without_reset)
    rounds, least = noisy_rounds(problem.layout), bundle.policies.min_rounds
    if rounds < least:
        raise WeightsError(
            f"{bundle.file.path.name} helps from {least} noisy rounds on, and here are {rounds}; export a "
            "longer experiment"
        )
    if layout not in ("qecpipe", "cudaq"):
        raise ValueError(f"layout={layout!r} is unknown; use 'qecpipe' or 'cudaq'")
    if name == "logits":
        if layout == "cudaq":
            raise ValueError("layout 'cudaq' is of a residual and flips; use graph 'residual'")
        return LogitsGraph(NetworkTables.of(problem, bundle.network), problem.layout.num_detectors)
    if name != "residual":
        raise ValueError(f"graph {name!r} is unknown; use 'residual' or 'logits'")
    policy = bundle.policies.threshold_at(distance=problem.distance, density=problem.peak_density)
    network = NetworkTables.of(problem, bundle.removal_network)
    residual = ResidualGraph(network, MoveTables.of(problem.moves), policy, steps)
    return JoinedGraph(residual) if layout == "cudaq" else residual
