"""A trellis with a beam: maximum-likelihood decoding, nearly, for small patches.

Matching and Tesseract look for one likely error. What counts is the probability of all errors together that
explain a shot with an observable flipped, against that of all without. A trellis adds them up, fault by
fault, in one pass over the detectors; `native/trellis` says how, and what its beam leaves out. With a beam
that keeps every state the answer is exact for the DEM. States are as many as the ways in which detectors
between two faults can have been left, so that patches are small: at distance 3 a beam of 256 leaves out
nothing that matters, and at distance 5 one of 64 is level with Google's tensor network on those shots of
Google's that a network doubts.

Shape legend: B shots, D detectors, O observables. Shots are bit-packed uint8, LSB first.
"""

from __future__ import annotations

import dataclasses
import math
from functools import cached_property

import numpy as np
import sinter
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import reverse_cuthill_mckee

from _qecpipe import Trellis
from global_decoders.compiling import NormalFormDecoder
from global_decoders.packed_shots import PackedShotFormat, UnexplainedShotsError
from global_decoders.soft_output import WithGap, relative_gap
from qec import Faults, NormalForm, gf2

_WIDEST = 1 << 20
"""Native code takes no wider beam."""


@dataclasses.dataclass(frozen=True)
class TrellisDecoder(NormalFormDecoder):
    """Sums over the errors that a beam keeps.

    Args:
        beam: states that are kept between two faults. More of them take longer, in proportion; at distance 5
            four times as many make 1 to 2 % fewer errors.
        gap_scale: factor on gaps that makes them log-odds.
    """

    beam: int = 64
    gap_scale: float = 1.0

    def compile_normal_form(self, normal: NormalForm) -> CompiledTrellis:
        """Components of a mechanism fire together.

        Raises:
            ValueError: too many detectors are open at a time, more than 64 observables are flipped, or `beam`
                is not from 1 to 2^20.
        """
        if not 1 <= self.beam <= _WIDEST:
            raise ValueError(f"beam={self.beam!r} is not from 1 to 2^20 states")
        return CompiledTrellis(normal, beam=self.beam, gap_scale=self.gap_scale)


class CompiledTrellis(sinter.CompiledDecoder):
    """Sums over the errors of one DEM.

    Shots that whole mechanisms cannot add up to, which the DEM says do not happen (Y errors alone explain no
    lone X error), are decoded as matching does, as if the components of mechanisms stood alone.
    """

    def __init__(self, normal: NormalForm, *, beam: int, gap_scale: float) -> None:
        self._normal, self._beam, self._gap_scale = normal, beam, gap_scale
        self._of_mechanisms = _Sums(normal.hyperedges)
        self._shot_format = PackedShotFormat.of_faults(normal.edges)

    @cached_property
    def _of_components(self) -> _Sums:
        return _Sums(self._normal.edges)

    def decode_shots_bit_packed(self, *, bit_packed_detection_event_data: np.ndarray) -> np.ndarray:
        """Predicted observable flips: uint8 `(B, ceil(O / 8))`."""
        return self.decode_shots_with_gap(
            bit_packed_detection_event_data=bit_packed_detection_event_data
        ).predictions

    def decode_shots_with_gap(
        self, *, bit_packed_detection_event_data: np.ndarray, limit: float = math.inf
    ) -> WithGap:
        """The same predictions, and the log-odds between the sums. Infinite where one has no state left.

        Raises:
            ValueError: shots of another shape.
            UnexplainedShotsError: not even components of mechanisms add up to what fired.
        """
        packed = self._shot_format.checked(bit_packed_detection_event_data)
        log_odds = self._of_mechanisms.log_odds(packed, beam=self._beam)
        if len(lost := _lost(log_odds)):
            log_odds[lost] = self._of_components.log_odds(packed[lost], beam=self._beam)
        if len(lost := _lost(log_odds)):
            raise UnexplainedShotsError(
                "no components of the DEM's mechanisms add up to its detections; give a DEM with noise there",
                shots=lost,
            )
        predictions = np.packbits(log_odds < 0, axis=1, bitorder="little")
        return WithGap(predictions, relative_gap(self._gap_scale * log_odds, predictions))


class _Sums:
    """Sums over all errors that are made of some faults."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._flipped = np.flatnonzero(faults.observable_flips.any(axis=0))
        self._native = _trellis(faults, self._flipped)

    def log_odds(self, packed: np.ndarray, *, beam: int) -> np.ndarray:
        """Of no flip, float32 `(B, O)`; NaN for shots that no faults add up to.

        Of a shot that a beam loses, which is one whose errors look far less likely half way than others that
        end nowhere, wider ones keep all that they have room for.
        """
        found = self._native.log_odds(packed, beam=beam)
        lost = _lost(found)
        lost = lost[self._explained(packed[lost])] if len(lost) else lost
        while len(lost) and beam < _WIDEST:
            beam = min(8 * beam, _WIDEST)
            found[lost] = self._native.log_odds(packed[lost], beam=beam, negligible=0.0)
            lost = lost[_lost(found[lost])]
        log_odds = np.full((len(packed), self._faults.observable_flips.shape[1]), np.inf, dtype=np.float32)
        log_odds[:, self._flipped] = found
        return log_odds

    def _explained(self, packed: np.ndarray) -> np.ndarray:
        """bool `(B,)`: whether any faults add up to a shot."""
        fired = np.unpackbits(packed, axis=1, count=self._faults.num_detectors, bitorder="little")
        odd = (fired.astype(np.int64) @ self._even_sets.T) & 1
        return np.logical_not(odd.any(axis=1))

    @cached_property
    def _even_sets(self) -> np.ndarray:
        return gf2.even_sets(self._faults.check_matrix()).astype(np.int64)


def _lost(log_odds: np.ndarray) -> np.ndarray:
    """Numbers of the shots of which no state is left, in `(B, O)`."""
    return np.flatnonzero(np.isnan(log_odds).any(axis=1))


def _swept(faults: Faults) -> np.ndarray:
    """Detectors `(D,)` in an order in which neighbours are close, so that few are open at a time."""
    if not faults.num_detectors:
        return np.zeros(0, dtype=np.int64)
    matrix = csr_matrix(faults.check_matrix()).astype(np.int64)
    return np.asarray(reverse_cuthill_mckee(csr_matrix(matrix @ matrix.T), symmetric_mode=True))


def _trellis(faults: Faults, flipped: np.ndarray) -> Trellis:
    """Takes faults when the sweep reaches the first of their detectors, which decides it soon after."""
    place = np.argsort(_swept(faults))
    places = [tuple(sorted(place[list(detectors)].tolist())) for detectors in faults.detectors]
    taken = sorted(range(len(faults)), key=places.__getitem__)
    detectors = [faults.detectors[k] for k in taken]
    flips = faults.observable_flips[taken][:, flipped].astype(np.uint64)
    return Trellis(
        np.cumsum([0, *map(len, detectors)], dtype=np.int32),
        np.array([d for of_fault in detectors for d in of_fault], dtype=np.int32),
        faults.probabilities[taken],
        (flips << np.arange(flips.shape[1], dtype=np.uint64)).sum(axis=1, dtype=np.uint64),
        num_detectors=faults.num_detectors,
        num_observables=flips.shape[1],
    )
