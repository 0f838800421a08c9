"""MWPF (minimum-weight parity factor, arXiv:2508.04969): matching generalised to hypergraphs."""

import dataclasses

import mwpf
import numpy as np

from global_decoders.compiling import NormalFormDecoder
from global_decoders.fault_search import FaultSearchDecoder
from qec import Faults, NormalForm


@dataclasses.dataclass(frozen=True)
class MwpfDecoder(NormalFormDecoder):
    """Minimum-weight parity factor with the joint single-hair solver, MWPF's most accurate.

    Args:
        cluster_node_limit: dual variables a cluster may have before the solver settles for an
            approximate solution; the package's default.
        gap_scale: factor on gaps that makes them log-odds.
    """

    cluster_node_limit: int = 50
    gap_scale: float = 0.85

    def compile_normal_form(self, normal: NormalForm) -> FaultSearchDecoder:
        """Components of a mechanism fire together."""
        return FaultSearchDecoder(
            normal.hyperedges,
            lambda faults: ParityFactorSolver(faults, cluster_node_limit=self.cluster_node_limit).search,
            gap_scale=self.gap_scale,
        )


class ParityFactorSolver:
    """One solver over the faults of a DEM.

    The package's own sinter decoder answers with random bits where its solver fails; here the
    solver's exception reaches the caller.
    """

    def __init__(self, faults: Faults, *, cluster_node_limit: int) -> None:
        hyperedges = [
            mwpf.HyperEdge(list(detectors), weight)
            for detectors, weight in zip(faults.detectors, faults.weights().tolist(), strict=True)
        ]
        self._solver = mwpf.SolverSerialJointSingleHair(
            mwpf.SolverInitializer(faults.num_detectors, hyperedges),
            config={"cluster_node_limit": cluster_node_limit},
        )

    def search(self, bits: np.ndarray) -> list[int]:
        """Indices of faults that explain detections, uint8 (num_detectors,)."""
        self._solver.solve(mwpf.SyndromePattern(np.flatnonzero(bits).tolist()))
        chosen = self._solver.subgraph()
        self._solver.clear()
        return list(chosen)
