"""PyMatching (sparse blossom, arXiv:2303.15933), plain or with its two-pass correlations."""

import dataclasses
import math

import numpy as np
import pymatching
import sinter

from global_decoders.compiling import NormalFormDecoder, require_edges
from global_decoders.matching import GAP_SCALE, MatchingGaps
from global_decoders.packed_shots import UnexplainedShotsError, checked_packed
from global_decoders.soft_output import WithGap
from qec import NormalForm


@dataclasses.dataclass(frozen=True)
class PyMatchingDecoder(NormalFormDecoder):
    """Minimum-weight perfect matching on the DEM's graph.

    Args:
        correlated: match twice, the second time with weights conditioned on the first matching's
            edges (`enable_correlations` of PyMatching).
        gap_scale: factor on gaps that makes them log-odds; None for `GAP_SCALE`'s.
    """

    correlated: bool = False
    gap_scale: float | None = None

    @property
    def independent_edges(self) -> bool:
        """Whether edges count as independent, so that nothing is learned from one basis for the other."""
        return not self.correlated

    def compile_normal_form(self, normal: NormalForm) -> "CompiledPyMatching":
        """Build the graph, warm: the first decode is as fast as the next.

        Raises:
            ValueError: a mechanism is not decomposed into edges.
        """
        dem = normal.correlated_dem if self.correlated else normal.matching_dem
        require_edges(dem, decoder="pymatching")
        matching = pymatching.Matching.from_detector_error_model(dem, enable_correlations=self.correlated)
        compiled = CompiledPyMatching(
            matching=matching,
            correlated=self.correlated,
            num_detectors=dem.num_detectors,
            gaps=MatchingGaps(
                normal,
                correlated=self.correlated,
                scale=GAP_SCALE[self.correlated] if self.gap_scale is None else self.gap_scale,
            ),
        )
        # PyMatching builds its search graph in the first decode, 25-120 ms at d = 13.
        compiled.decode_shots_bit_packed(
            bit_packed_detection_event_data=np.zeros((1, -(-dem.num_detectors // 8)), dtype=np.uint8)
        )
        return compiled


class CompiledPyMatching(sinter.CompiledDecoder):
    """`matching` with the bit-packed calling convention; holds the GIL while it decodes."""

    def __init__(
        self, *, matching: pymatching.Matching, correlated: bool, num_detectors: int, gaps: MatchingGaps
    ) -> None:
        self.matching = matching
        self.correlated = correlated
        self.num_detectors = num_detectors
        self._gaps = gaps

    def decode_shots_bit_packed(self, *, bit_packed_detection_event_data: np.ndarray) -> np.ndarray:
        """uint8 (shots, ceil(num_detectors/8)) -> uint8 (shots, ceil(num_observables/8)).

        Raises:
            ValueError: shots of another shape.
            UnexplainedShotsError: a syndrome that no set of edges explains.
        """
        packed = checked_packed(bit_packed_detection_event_data, num_detectors=self.num_detectors)
        try:
            return self._predictions(packed)
        except ValueError as error:  # the library's, of a batch, does not say of which shot
            shots = np.array([k for k in range(len(packed)) if not self._explains(packed[k : k + 1])])
            if not len(shots):
                raise
            raise UnexplainedShotsError(
                "no edges of the DEM add up to its detections; give a DEM with noise there", shots=shots
            ) from error

    def _predictions(self, packed: np.ndarray) -> np.ndarray:
        predictions = self.matching.decode_batch(
            packed,
            bit_packed_shots=True,
            bit_packed_predictions=True,
            enable_correlations=self.correlated,
        )
        return np.asarray(predictions, dtype=np.uint8)

    def _explains(self, packed: np.ndarray) -> bool:
        try:
            self._predictions(packed)
        except ValueError:
            return False
        return True

    def decode_shots_with_gap(
        self, *, bit_packed_detection_event_data: np.ndarray, limit: float = math.inf
    ) -> WithGap:
        """The same predictions, and gaps by two matchings of our own; see `MatchingGaps`.

        Raises:
            NoGapError: a cycle of edges between detectors flips an observable.
            ValueError: as `decode_shots_bit_packed`.
        """
        predictions = self.decode_shots_bit_packed(
            bit_packed_detection_event_data=bit_packed_detection_event_data
        )
        return WithGap(predictions, self._gaps.of(bit_packed_detection_event_data, predictions, limit=limit))
