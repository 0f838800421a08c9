"""MWPF (minimum-weight parity factor, arXiv:2508.04969): matching generalised to hypergraphs."""

import dataclasses

import mwpf
import numpy as np

from global_decoders.compiling import NormalFormDecoder
from global_decoders.packed_shots import PackedShotFormat, ShotByShotDecoder
from qec import Faults, NormalForm


@dataclasses.dataclass(frozen=True)
class MwpfDecoder(NormalFormDecoder):
    """Minimum-weight parity factor with the joint single-hair solver, MWPF's most accurate.

    Args:
        cluster_node_limit: dual variables a cluster may have before the solver settles for an
            approximate solution; the package's default.
    """

    cluster_node_limit: int = 50

    def compile_normal_form(self, normal: NormalForm) -> ShotByShotDecoder:
        """Components of a mechanism fire together."""
        faults = normal.hyperedges
        solver = ParityFactorSolver(faults, cluster_node_limit=self.cluster_node_limit)
        return ShotByShotDecoder(solver.decode, shot_format=PackedShotFormat.of_faults(faults))


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
        self._faults = faults
        self._solver = mwpf.SolverSerialJointSingleHair(
            mwpf.SolverInitializer(faults.num_detectors, hyperedges),
            config={"cluster_node_limit": cluster_node_limit},
        )

    def decode(self, bits: np.ndarray) -> np.ndarray:
        """Observable flips, uint8 (num_observables,), of detections uint8 (num_detectors,)."""
        self._solver.solve(mwpf.SyndromePattern(np.flatnonzero(bits).tolist()))
        chosen = self._solver.subgraph()
        self._solver.clear()
        return self._faults.flips_of(chosen)
