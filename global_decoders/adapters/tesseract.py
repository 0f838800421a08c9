"""Tesseract (arXiv:2503.10988): A* search for the most likely error."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import sinter
import stim
import tesseract_decoder
from tesseract_decoder.tesseract_sinter_compat import TesseractSinterCompiledDecoder

from global_decoders.compiling import NormalFormDecoder, detectable
from global_decoders.fault_search import ForcedClasses, Search
from global_decoders.packed_shots import PackedShotFormat
from global_decoders.soft_output import WithGap, relative_gap
from qec import Faults, NormalForm


@dataclasses.dataclass(frozen=True)
class TesseractDecoder(NormalFormDecoder):
    """The package `tesseract-decoder` with the short-beam settings of its documentation.

    Args:
        det_beam: how many more detections than the best state a search state may keep.
        beam_climbing: try every beam up to `det_beam` and keep the cheapest answer.
        num_det_orders: detector orders to search in.
        pqlimit: search states before giving up on an order.
        seed: of the random detector orders.
        gap_scale: factor on gaps that makes them log-odds.
    """

    det_beam: int = 15
    beam_climbing: bool = True
    num_det_orders: int = 16
    pqlimit: int = 200_000
    seed: int = 2384753
    gap_scale: float = 0.85

    def compile_normal_form(self, normal: NormalForm) -> CompiledTesseract:
        """Components of a mechanism fire together."""
        return CompiledTesseract(
            self._compile(detectable(normal.dem)),
            classes=ForcedClasses(normal.hyperedges, self._search),
            shot_format=PackedShotFormat.of_faults(normal.hyperedges),
            gap_scale=self.gap_scale,
        )

    def _compile(self, dem: stim.DetectorErrorModel) -> TesseractSinterCompiledDecoder:
        search = tesseract_decoder.TesseractSinterDecoder(
            det_beam=self.det_beam,
            beam_climbing=self.beam_climbing,
            num_det_orders=self.num_det_orders,
            det_order_method=tesseract_decoder.utils.DetOrder.DetIndex,
            pqlimit=self.pqlimit,
            seed=self.seed,
        )
        return search.compile_decoder_for_dem(dem=dem)

    def _search(self, faults: Faults) -> Search:
        """The search on faults alone, which tells their indices."""
        dem = stim.DetectorErrorModel()
        for p, detectors in zip(faults.probabilities, faults.detectors, strict=True):
            dem.append("error", p, [stim.target_relative_detector_id(d) for d in detectors])
        if dem.num_detectors < faults.num_detectors:
            dem.append("detector", [], [stim.target_relative_detector_id(faults.num_detectors - 1)])
        decoder = self._compile(dem).decoder
        return lambda bits: decoder.decode_to_errors(bits.astype(bool))


class CompiledTesseract(sinter.CompiledDecoder):
    """The library's own bit-packed decoder, with its input checked."""

    def __init__(
        self,
        search: TesseractSinterCompiledDecoder,
        *,
        classes: ForcedClasses,
        shot_format: PackedShotFormat,
        gap_scale: float,
    ) -> None:
        self.search = search
        self.shot_format = shot_format
        self._classes, self._gap_scale = classes, gap_scale

    def decode_shots_bit_packed(self, *, bit_packed_detection_event_data: np.ndarray) -> np.ndarray:
        """uint8 (shots, ceil(num_detectors/8)) -> uint8 (shots, ceil(num_observables/8))."""
        packed = self.shot_format.checked(bit_packed_detection_event_data)
        return self.search.decode_shots_bit_packed(bit_packed_detection_event_data=packed)

    def decode_shots_with_gap(
        self, *, bit_packed_detection_event_data: np.ndarray, limit: float = math.inf
    ) -> WithGap:
        """The same predictions, and what the search finds with each observable forced to its other value.

        Takes a search more for every observable. A shot in which that finds nothing has an infinite gap.
        """
        packed = self.shot_format.checked(bit_packed_detection_event_data)
        flips = np.zeros((len(packed), self.shot_format.num_observables), dtype=np.uint8)
        log_odds = np.zeros(flips.shape)
        decoder = self.search.decoder
        for shot, row in enumerate(packed):
            bits = self.shot_format.unpacked(row)
            found = decoder.decode_to_errors(bits.astype(bool))
            flips[shot] = decoder.get_observables_from_errors(found)
            log_odds[shot] = self._classes.log_odds(
                bits, flips=flips[shot], weight=decoder.cost_from_errors(found)
            )
        predictions = np.packbits(flips, axis=1, bitorder="little")
        return WithGap(predictions, relative_gap(self._gap_scale * log_odds, predictions))
