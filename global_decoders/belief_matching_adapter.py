"""Belief-matching (arXiv:2203.04948): belief propagation reweights the matching graph of each shot."""

import dataclasses
import warnings

import numpy as np
import sinter
import stim
from beliefmatching import BeliefMatching

from global_decoders.faults import require_edges
from global_decoders.packed import ShotByShotDecoder, ShotFormat


@dataclasses.dataclass(frozen=True)
class BeliefMatchingDecoder(sinter.Decoder):
    """The package `beliefmatching` with its default product-sum belief propagation.

    Args:
        max_bp_iters: iterations before BP gives up and its marginals weight a matching.
    """

    max_bp_iters: int = 20

    def compile_decoder_for_dem(self, *, dem: stim.DetectorErrorModel) -> ShotByShotDecoder:
        """Raises ValueError if a mechanism is not decomposed into edges."""
        require_edges(dem, decoder="belief-matching")
        shot_format = ShotFormat.of_dem(dem)
        if not shot_format.possible.any():  # a noiseless circuit; BP needs a mechanism
            return ShotByShotDecoder(
                lambda bits: np.zeros(dem.num_observables, dtype=np.uint8), shot_format=shot_format
            )
        with warnings.catch_warnings():
            # beliefmatching 0.1 (the last release without a numpy cap) calls ldpc by its old name.
            warnings.filterwarnings("ignore", message="This is the old syntax for the `bp_decoder`")
            matcher = BeliefMatching(_with_finite_ratios(dem), max_bp_iters=self.max_bp_iters)
        return ShotByShotDecoder(matcher.decode, shot_format=shot_format)


def _with_finite_ratios(dem: stim.DetectorErrorModel) -> stim.DetectorErrorModel:
    """The DEM, flat, with probabilities 0 raised to 1e-30: BP cannot take an infinite log-ratio."""
    finite = stim.DetectorErrorModel()
    for instruction in dem.flattened():
        if not isinstance(instruction, stim.DemInstruction) or instruction.type != "error":
            finite.append(instruction)
        else:
            (p,) = instruction.args_copy()
            finite.append("error", max(p, 1e-30), [*instruction.targets_copy()])
    return finite
