"""An adaptive chain: a fast decoder for every shot, and a slow one for those that it doubts.

Most failures are among the few shots with a small gap. To decide whether a shot is one of them, its gap is
compared with a threshold that is fixed before any shot is decoded: a shot has the same answer in any batch.

Shape legend: B shots, D detectors, O observables. Shots are bit-packed uint8, LSB first.
"""

from __future__ import annotations

import math

import numpy as np
import sinter
import stim

from global_decoders.compiling import NormalFormDecoder, compile_normal_form
from global_decoders.soft_output import WithGap, decode_explained, decode_with_gap, require_gap
from qec import NormalForm

__all__ = ["CascadeDecoder", "CompiledCascade"]

_LEAST_SHOTS, _MOST_SHOTS = 2_000, 50_000
_DOUBTFUL_SHOTS = 100
"""Shots of its own that the threshold is found on: so many that about 100 of them are doubtful."""
_SEED = 20_260_405


class CascadeDecoder(NormalFormDecoder):
    """Hands the shots on which one decoder is least sure to another one."""

    def __init__(
        self,
        first: sinter.Decoder,
        second: sinter.Decoder,
        *,
        fraction: float | None = None,
        threshold: float | None = None,
    ) -> None:
        """Choose what is doubtful.

        Args:
            first: decodes all shots; it needs a gap.
            second: decodes the doubtful ones anew.
            fraction: of shots that are to be doubtful. The threshold is found on shots that are sampled from
                the DEM, with a seed of its own; what shots of a device have is another fraction, if the DEM
                does not fit them.
            threshold: nats of the gap below which a shot is doubtful, in place of a fraction.

        Raises:
            ValueError: both or none of them are given, or one that is not above 0 (and below 1).
        """
        if (fraction is None) == (threshold is None):
            raise ValueError("give a fraction of doubtful shots, or a threshold of their gap")
        if fraction is not None and not 0 < fraction < 1:
            raise ValueError(f"fraction={fraction!r} of doubtful shots is not between 0 and 1")
        if threshold is not None and not 0 < threshold < math.inf:
            raise ValueError(f"threshold={threshold!r} is not a number of nats above 0")
        self.first, self.second = first, second
        self.fraction, self.threshold = fraction, threshold

    def compile_normal_form(self, normal: NormalForm) -> CompiledCascade:
        """Compile both, and find the threshold if only the fraction is known.

        Raises:
            NoGapError: the first decoder has none.
        """
        first = compile_normal_form(self.first, normal)
        require_gap(first, num_detectors=normal.num_detectors)
        threshold = self.threshold
        if threshold is None:
            assert self.fraction is not None
            threshold = doubtful_gap(first, normal.dem, fraction=self.fraction)
        return CompiledCascade(first, compile_normal_form(self.second, normal), threshold=threshold)


def doubtful_gap(compiled: sinter.CompiledDecoder, dem: stim.DetectorErrorModel, *, fraction: float) -> float:
    """The gap below which a fraction of the shots of a DEM have theirs, found by sampling.

    At most the fraction is below it: many shots of a small patch may have the same gap.
    """
    shots = math.ceil(min(_MOST_SHOTS, max(_LEAST_SHOTS, _DOUBTFUL_SHOTS / fraction)))
    sampler, gaps = dem.compile_sampler(seed=_SEED), []
    for start in range(0, shots, _LEAST_SHOTS):
        packed, _, _ = sampler.sample(min(_LEAST_SHOTS, shots - start), bit_packed=True)
        gaps.append(decode_with_gap(compiled, np.asarray(packed)).of_shots)
    return float(np.sort(np.concatenate(gaps))[min(round(fraction * shots), shots - 1)])


class CompiledCascade(sinter.CompiledDecoder):
    """Two compiled decoders of one DEM, and the gap of the first below which the second is asked.

    Of a doubtful shot that the second says nothing explains, the first one's answer stands: a network's moves
    explain more than mechanisms do.
    """

    def __init__(
        self, first: sinter.CompiledDecoder, second: sinter.CompiledDecoder, *, threshold: float
    ) -> None:
        self.first, self.second = first, second
        self.threshold = threshold

    def decode_shots_bit_packed(self, *, bit_packed_detection_event_data: np.ndarray) -> np.ndarray:
        """Predicted observable flips: uint8 `(B, ceil(O / 8))`.

        Raises:
            UnexplainedShotsError: the first decoder says so.
        """
        found, doubtful = self._first_opinion(bit_packed_detection_event_data)
        predictions = found.predictions.copy()
        if len(doubtful):
            second, known = decode_explained(
                lambda shots: self.second.decode_shots_bit_packed(bit_packed_detection_event_data=shots),
                bit_packed_detection_event_data[doubtful],
            )
            predictions[doubtful[known]] = second
        return predictions

    def decode_shots_with_gap(
        self, *, bit_packed_detection_event_data: np.ndarray, limit: float = math.inf
    ) -> WithGap:
        """The same predictions, each with the gap of the decoder that it is from.

        Raises:
            NoGapError: the second decoder has none.
            UnexplainedShotsError: as `decode_shots_bit_packed`.
        """
        found, doubtful = self._first_opinion(bit_packed_detection_event_data, limit=limit)
        second, known = decode_explained(
            lambda shots: decode_with_gap(self.second, shots, limit=limit),
            bit_packed_detection_event_data[doubtful],
        )
        predictions, gap = found.predictions.copy(), found.gap.copy()
        predictions[doubtful[known]], gap[doubtful[known]] = second
        return WithGap(predictions, gap)

    def _first_opinion(self, packed: np.ndarray, *, limit: float = 0.0) -> tuple[WithGap, np.ndarray]:
        """What the first decoder says, its gaps up to `limit` at least, and which shots it doubts."""
        enough = max(limit, self.threshold) if self.threshold > 0 else math.inf
        found = decode_with_gap(self.first, packed, limit=enough)
        return found, np.flatnonzero(found.of_shots < self.threshold)
