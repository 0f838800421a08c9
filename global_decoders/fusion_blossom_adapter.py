"""Fusion Blossom (arXiv:2305.08307): exact minimum-weight perfect matching in Rust."""

import fusion_blossom
import numpy as np
import sinter
import stim

from global_decoders.faults import Faults, edge_faults
from global_decoders.packed import ShotByShotDecoder, ShotFormat

# Fusion Blossom takes even 32-bit weights. PyMatching rounds to 2^14 steps; this is finer, and a
# path of thousands of edges still fits.
_MAX_HALF_WEIGHT = 1 << 16


class FusionBlossomDecoder(sinter.Decoder):
    """Minimum-weight perfect matching on the DEM's graph, weights rounded to 1/65536 of the largest."""

    graphlike = True

    def compile_decoder_for_dem(self, *, dem: stim.DetectorErrorModel) -> ShotByShotDecoder:
        """Raises ValueError if a mechanism is not decomposed into edges."""
        matcher = FusionBlossomMatcher(edge_faults(dem, decoder="fusion-blossom"))
        return ShotByShotDecoder(matcher.decode, shot_format=ShotFormat.of_dem(dem))


class FusionBlossomMatcher:
    """One solver over the faults of a matching graph.

    Fusion Blossom wants weights >= 0. An edge likelier than not is taken as fired, and the matching
    says where it did not: its weight is log(p/(1-p)), its detectors and observables toggle first.
    """

    def __init__(self, edges: Faults) -> None:
        boundary = edges.num_detectors
        weights = edges.weights()
        largest = max(float(np.abs(weights).max(initial=0.0)), 1e-9)
        half_weights = np.rint(np.abs(weights) * (_MAX_HALF_WEIGHT / largest)).astype(int)
        fired = np.flatnonzero(weights < 0)

        self._edges = edges
        self._toggled = np.zeros(edges.num_detectors, dtype=np.uint8)
        for j in fired:
            self._toggled[list(edges.detectors[j])] ^= 1
        self._always_flipped = edges.flips_of(fired)
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
        self._solver.solve(fusion_blossom.SyndromePattern(np.flatnonzero(bits ^ self._toggled).tolist()))
        matched = self._solver.subgraph()
        self._solver.clear()
        return matched

    def decode(self, bits: np.ndarray) -> np.ndarray:
        """Observable flips, uint8 (num_observables,)."""
        return self._edges.flips_of(self.matched_edges(bits)) ^ self._always_flipped
