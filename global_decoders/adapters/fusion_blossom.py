"""Fusion Blossom (arXiv:2305.08307): exact minimum-weight perfect matching in Rust."""

import dataclasses
import math

import fusion_blossom
import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from global_decoders.compiling import NormalFormDecoder, require_edges
from global_decoders.matching import MatchingGaps
from global_decoders.packed_shots import PackedShotFormat, ShotByShotDecoder, UnexplainedShotsError
from global_decoders.soft_output import WithGap
from qec import Faults, NormalForm

# Fusion Blossom takes even 32-bit weights. PyMatching rounds to 2^14 steps; this is finer, and a
# path of thousands of edges still fits.
_MAX_HALF_WEIGHT = 1 << 16


@dataclasses.dataclass(frozen=True)
class FusionBlossomDecoder(NormalFormDecoder):
    """Minimum-weight perfect matching on the DEM's graph, weights rounded to 1/65536 of the largest.

    Args:
        gap_scale: factor on gaps that makes them log-odds, as plain PyMatching's.
    """

    gap_scale: float = 0.8

    @property
    def independent_edges(self) -> bool:
        """True: a matching learns nothing from one basis for the other."""
        return True

    def compile_normal_form(self, normal: NormalForm) -> "CompiledFusionBlossom":
        """Raises ValueError if a mechanism is not decomposed into edges."""
        require_edges(normal.dem, decoder="fusion-blossom")
        return CompiledFusionBlossom(normal, gap_scale=self.gap_scale)


class CompiledFusionBlossom(ShotByShotDecoder):
    """The library's matching of a DEM's edges; its gaps are by matchings of our own."""

    def __init__(self, normal: NormalForm, *, gap_scale: float) -> None:
        matcher = FusionBlossomMatcher(normal.edges)
        super().__init__(matcher.decode, shot_format=PackedShotFormat.of_faults(normal.edges))
        self._gaps = MatchingGaps(normal, correlated=False, scale=gap_scale)
        self._closed = _closed_parts(normal.edges)

    def decode_shots_bit_packed(self, *, bit_packed_detection_event_data: np.ndarray) -> np.ndarray:
        """uint8 (shots, ceil(num_detectors/8)) -> uint8 (shots, ceil(num_observables/8)).

        Raises:
            ValueError: shots of another shape.
            UnexplainedShotsError: a syndrome that no set of edges explains. The library would panic, which is
                no `Exception`.
        """
        packed = self.shot_format.checked(bit_packed_detection_event_data)
        if len(self._closed):
            odd = (self.shot_format.unpacked(packed) @ self._closed.T) & 1
            if odd.any():
                raise UnexplainedShotsError(
                    "no edges of the DEM add up to its detections; give a DEM with noise there",
                    shots=np.flatnonzero(odd.any(axis=1)),
                )
        return super().decode_shots_bit_packed(bit_packed_detection_event_data=packed)

    def decode_shots_with_gap(
        self, *, bit_packed_detection_event_data: np.ndarray, limit: float = math.inf
    ) -> WithGap:
        """The same predictions, and their gaps; see `MatchingGaps`."""
        predictions = self.decode_shots_bit_packed(
            bit_packed_detection_event_data=bit_packed_detection_event_data
        )
        return WithGap(predictions, self._gaps.of(bit_packed_detection_event_data, predictions, limit=limit))


def _closed_parts(edges: Faults) -> np.ndarray:
    """int64 0/1 (parts, detectors): connected parts of the graph without boundary, of even detections."""
    boundary = edges.num_detectors
    ends = [(fault[0], fault[1] if len(fault) == 2 else boundary) for fault in edges.detectors]
    first, second = np.array(ends, dtype=np.int64).reshape(-1, 2).T
    graph = csr_matrix((np.ones(len(ends)), (first, second)), shape=(boundary + 1, boundary + 1))
    _, part = connected_components(graph, directed=False)
    closed = np.setdiff1d(part[first], part[boundary])
    return (part[:boundary] == closed[:, None]).astype(np.int64)


class FusionBlossomMatcher:
    """One solver over the faults of a matching graph."""

    def __init__(self, edges: Faults) -> None:
        boundary = edges.num_detectors
        weights = edges.weights()
        largest = max(float(weights.max(initial=0.0)), 1e-9)
        half_weights = np.rint(weights * (_MAX_HALF_WEIGHT / largest)).astype(int)
        self._edges = edges
        self._solver = fusion_blossom.SolverSerial(
            fusion_blossom.SolverInitializer(
                edges.num_detectors + 1,
                [
                    (fault[0], fault[1] if len(fault) == 2 else boundary, 2 * int(half))
                    for fault, half in zip(edges.detectors, half_weights, strict=True)
                ],
                [boundary],
            )
        )

    def matched_edges(self, bits: np.ndarray) -> list[int]:
        """Indices of the edges in a minimum-weight matching of the detections, uint8 (num_detectors,)."""
        self._solver.solve(fusion_blossom.SyndromePattern(np.flatnonzero(bits).tolist()))
        matched = self._solver.subgraph()
        self._solver.clear()
        return matched

    def decode(self, bits: np.ndarray) -> np.ndarray:
        """Observable flips, uint8 (num_observables,)."""
        return self._edges.flips_of(self.matched_edges(bits))
