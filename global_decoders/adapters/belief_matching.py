"""Belief-matching (arXiv:2203.04948): belief propagation reweights the matching graph of each shot."""

import dataclasses
import warnings

import numpy as np
from beliefmatching import BeliefMatching

from global_decoders.compiling import NormalFormDecoder, detectable, require_edges
from global_decoders.packed_shots import PackedShotFormat, ShotByShotDecoder
from qec import Faults, NormalForm, gf2


@dataclasses.dataclass(frozen=True)
class BeliefMatchingDecoder(NormalFormDecoder):
    """The package `beliefmatching` with its default product-sum belief propagation.

    Args:
        max_bp_iters: iterations before BP gives up and its marginals weight a matching.
    """

    max_bp_iters: int = 20

    def compile_normal_form(self, normal: NormalForm) -> ShotByShotDecoder:
        """Raises ValueError if a mechanism is not decomposed into edges."""
        require_edges(normal.dem, decoder="belief-matching")
        shot_format = PackedShotFormat.of_faults(normal.hyperedges)
        if not shot_format.possible.any():  # a noiseless circuit; BP needs a mechanism
            return ShotByShotDecoder(
                lambda bits: np.zeros(normal.num_observables, dtype=np.uint8), shot_format=shot_format
            )
        with warnings.catch_warnings():
            # beliefmatching 0.1 (the last release without a numpy cap) calls ldpc by its old name.
            warnings.filterwarnings("ignore", message="This is the old syntax for the `bp_decoder`")
            matcher = BeliefMatching(detectable(normal.dem), max_bp_iters=self.max_bp_iters)
        if normal.matching_dem is not normal.dem:
            _relabel(matcher, normal.edges)
        return ShotByShotDecoder(matcher.decode, shot_format=shot_format)


def _relabel(matcher: BeliefMatching, edges: Faults) -> None:
    """Give every edge its likeliest observables; the library takes the last that it read."""
    flips = dict(zip(edges.detectors, edges.observable_flips, strict=True))
    ends = matcher._matrices.edge_check_matrix
    ends.sort_indices()
    columns = [tuple(ends.indices[a:b].tolist()) for a, b in zip(ends.indptr, ends.indptr[1:], strict=False)]
    matcher._matrices.edge_observables_matrix = gf2.from_columns(
        [np.flatnonzero(flips[column]) for column in columns], rows=edges.observable_flips.shape[1]
    )
