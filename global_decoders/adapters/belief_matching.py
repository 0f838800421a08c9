"""Belief-matching (arXiv:2203.04948): belief propagation reweights the matching graph of each shot."""

import dataclasses
import math
import warnings
from functools import cached_property

import numpy as np
from beliefmatching import BeliefMatching
from scipy.sparse import csc_matrix

from global_decoders.compiling import NormalFormDecoder, detectable, require_edges
from global_decoders.fault_search import FaultSearchDecoder
from global_decoders.matching import MatchingGaps, MatchingGraph
from global_decoders.packed_shots import PackedShotFormat, ShotByShotDecoder
from global_decoders.soft_output import WithGap
from qec import Faults, NormalForm, gf2, mechanisms


@dataclasses.dataclass(frozen=True)
class BeliefMatchingDecoder(NormalFormDecoder):
    """The package `beliefmatching` with its default product-sum belief propagation.

    Args:
        max_bp_iters: iterations before BP gives up and its marginals weight a matching.
        gap_scale: factor on gaps that makes them log-odds: messages on cycles make BP too sure.
    """

    max_bp_iters: int = 20
    gap_scale: float = 0.5

    def compile_normal_form(self, normal: NormalForm) -> "CompiledBeliefMatching | FaultSearchDecoder":
        """Raises ValueError if a mechanism is not decomposed into edges."""
        require_edges(normal.dem, decoder="belief-matching")
        if not len(normal.hyperedges):  # a noiseless circuit; BP needs a mechanism
            return FaultSearchDecoder(normal.hyperedges, lambda faults: lambda bits: ())
        with warnings.catch_warnings():
            # beliefmatching 0.1 (the last release without a numpy cap) calls ldpc by its old name.
            warnings.filterwarnings("ignore", message="This is the old syntax for the `bp_decoder`")
            matcher = BeliefMatching(detectable(normal.dem), max_bp_iters=self.max_bp_iters)
        if normal.matching_dem is not normal.dem:
            _relabel(matcher, normal.edges)
        return CompiledBeliefMatching(matcher, normal, gap_scale=self.gap_scale)


class CompiledBeliefMatching(ShotByShotDecoder):
    """The library's decoder; its gaps are by matchings of our own, weighted by its marginals."""

    def __init__(self, matcher: BeliefMatching, normal: NormalForm, *, gap_scale: float) -> None:
        super().__init__(matcher.decode, shot_format=PackedShotFormat.of_faults(normal.hyperedges))
        self._propagation, self._columns = matcher._bpd, matcher._matrices.check_matrix
        priors = matcher._matrices.priors
        self._normal = normal
        self._prior_log_odds = np.log1p(-priors) - np.log(priors)
        self._gaps = MatchingGaps(normal, correlated=False, scale=gap_scale)

    def decode_shots_with_gap(
        self, *, bit_packed_detection_event_data: np.ndarray, limit: float = math.inf
    ) -> WithGap:
        """The same predictions, and gaps between the classes of a matching on BP's marginals.

        As the library has it, an edge is as probable as all mechanisms together that it is a part of.

        Raises:
            NoGapError: a cycle of edges between detectors flips an observable.
        """
        packed = self.shot_format.checked(bit_packed_detection_event_data)
        flips = np.zeros((len(packed), self.shot_format.num_observables), dtype=np.uint8)
        weights = np.zeros((len(packed), self._edges_of_columns.shape[0]), dtype=np.float32)
        for shot, row in enumerate(packed):
            flips[shot] = self.decode_shot(self.shot_format.unpacked(row))
            # What the library found for this very shot. Without detections it does not even begin.
            log_odds = self._propagation.log_prob_ratios if row.any() else self._prior_log_odds
            marginals = 1 / (1 + np.exp(np.clip(log_odds, -_SURE, _SURE)))
            probable = np.clip(self._edges_of_columns @ marginals, np.exp(-_SURE), 1 - np.exp(-_SURE))
            weights[shot] = np.log1p(-probable) - np.log(probable)
        predictions = np.packbits(flips, axis=1, bitorder="little")
        return WithGap(predictions, self._gaps.of(packed, predictions, weights, limit=limit))

    @cached_property
    def _edges_of_columns(self) -> csc_matrix:
        return _edges_of(self._columns, self._normal, self._gaps.graph)


_SURE = 30.0
"""Log-odds beyond which a marginal is as sure as float64 can tell from 1."""


def _edges_of(columns: csc_matrix, normal: NormalForm, graph: MatchingGraph) -> csc_matrix:
    """0 and 1 of shape (edges, columns): the edges that BP's mechanisms consist of."""
    number = {tuple(d for d in ends if d >= 0): k for k, ends in enumerate(graph.ends.T.tolist())}
    parts: dict[frozenset[int], list[int]] = {}
    for mechanism in mechanisms(normal.decomposed_dem):
        detectors: frozenset[int] = frozenset()
        for component, _ in mechanism.components:
            detectors ^= frozenset(component)
        found = [number[component] for component, _ in mechanism.components if component]
        parts.setdefault(detectors, found)
    bounds = zip(columns.indptr, columns.indptr[1:], strict=False)
    of_columns = [parts[frozenset(columns.indices[a:b].tolist())] for a, b in bounds]
    return gf2.from_columns(of_columns, rows=len(number)).astype(np.float64)


def _relabel(matcher: BeliefMatching, edges: Faults) -> None:
    """Give every edge its likeliest observables; the library takes the last that it read."""
    flips = dict(zip(edges.detectors, edges.observable_flips, strict=True))
    ends = matcher._matrices.edge_check_matrix
    ends.sort_indices()
    columns = [tuple(ends.indices[a:b].tolist()) for a, b in zip(ends.indptr, ends.indptr[1:], strict=False)]
    matcher._matrices.edge_observables_matrix = gf2.from_columns(
        [np.flatnonzero(flips[column]) for column in columns], rows=edges.observable_flips.shape[1]
    )
