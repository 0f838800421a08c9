"""BP+OSD (arXiv:2005.07016) and BP+LSD (arXiv:2406.18655) from the package `ldpc`.

Both run min-sum belief propagation on the full hypergraph and, where it does not converge,
finish with ordered or localised statistics.
"""

import dataclasses
from typing import Any

import numpy as np
from ldpc.bplsd_decoder import BpLsdDecoder as LdpcLsd
from ldpc.bposd_decoder import BpOsdDecoder as LdpcOsd

from global_decoders.compiling import NormalFormDecoder
from global_decoders.fault_search import FaultSearchDecoder, Search
from qec import Faults, NormalForm


@dataclasses.dataclass(frozen=True)
class BpOsdDecoder(NormalFormDecoder):
    """Belief propagation and ordered-statistics decoding.

    Args:
        max_iter: BP iterations.
        scaling: min-sum scaling factor.
        osd_method: 'osd_0', 'osd_e' or 'osd_cs' (combination sweep).
        osd_order: how many of the least reliable bits the sweep combines; cost grows with its square.
        gap_scale: factor on gaps that makes them log-odds.
    """

    max_iter: int = 30
    scaling: float = 0.625
    osd_method: str = "osd_cs"
    osd_order: int = 7
    gap_scale: float = 0.85

    def compile_normal_form(self, normal: NormalForm) -> FaultSearchDecoder:
        """Components of a mechanism fire together."""

        def make_search(faults: Faults) -> Search:
            # ldpc reads past its arrays (a segmentation fault) where the order exceeds the free columns.
            order = max(0, min(self.osd_order, len(faults) - faults.num_detectors))
            options = {"osd_method": self.osd_method, "osd_order": order}
            return _search(LdpcOsd, faults, max_iter=self.max_iter, scaling=self.scaling, **options)

        return FaultSearchDecoder(normal.hyperedges, make_search, gap_scale=self.gap_scale)


@dataclasses.dataclass(frozen=True)
class BpLsdDecoder(NormalFormDecoder):
    """Belief propagation and localised-statistics decoding: OSD on clusters around the detections.

    Args:
        max_iter: BP iterations.
        scaling: min-sum scaling factor.
        lsd_method: 'lsd_0', 'lsd_e' or 'lsd_cs'.
        lsd_order: as `osd_order`, within each cluster.
        gap_scale: factor on gaps that makes them log-odds.
    """

    max_iter: int = 30
    scaling: float = 0.625
    lsd_method: str = "lsd_0"
    lsd_order: int = 0
    gap_scale: float = 0.85

    def compile_normal_form(self, normal: NormalForm) -> FaultSearchDecoder:
        """Components of a mechanism fire together."""
        options = {"lsd_method": self.lsd_method, "lsd_order": self.lsd_order}

        def make_search(faults: Faults) -> Search:
            return _search(LdpcLsd, faults, max_iter=self.max_iter, scaling=self.scaling, **options)

        return FaultSearchDecoder(normal.hyperedges, make_search, gap_scale=self.gap_scale)


def _search(library_decoder: Any, faults: Faults, *, max_iter: int, scaling: float, **options: Any) -> Search:
    decoder = library_decoder(
        faults.check_matrix(),
        error_channel=faults.probabilities.tolist(),
        max_iter=max_iter,
        bp_method="minimum_sum",
        ms_scaling_factor=scaling,
        input_vector_type="syndrome",
        **options,
    )

    def search(bits: np.ndarray) -> np.ndarray:
        return decoder.decode(bits).nonzero()[0]

    return search
