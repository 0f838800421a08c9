"""Tesseract (arXiv:2503.10988): A* search for the most likely error."""

import dataclasses

import numpy as np
import sinter
import tesseract_decoder

from global_decoders.compiling import NormalFormDecoder, detectable
from global_decoders.packed_shots import PackedShotFormat
from qec import NormalForm


@dataclasses.dataclass(frozen=True)
class TesseractDecoder(NormalFormDecoder):
    """The package `tesseract-decoder` with the short-beam settings of its documentation.

    Args:
        det_beam: how many more detections than the best state a search state may keep.
        beam_climbing: try every beam up to `det_beam` and keep the cheapest answer.
        num_det_orders: detector orders to search in.
        pqlimit: search states before giving up on an order.
        seed: of the random detector orders.
    """

    det_beam: int = 15
    beam_climbing: bool = True
    num_det_orders: int = 16
    pqlimit: int = 200_000
    seed: int = 2384753

    def compile_normal_form(self, normal: NormalForm) -> "CompiledTesseract":
        """Components of a mechanism fire together."""
        search = tesseract_decoder.TesseractSinterDecoder(
            det_beam=self.det_beam,
            beam_climbing=self.beam_climbing,
            num_det_orders=self.num_det_orders,
            det_order_method=tesseract_decoder.utils.DetOrder.DetIndex,
            pqlimit=self.pqlimit,
            seed=self.seed,
        )
        return CompiledTesseract(
            search.compile_decoder_for_dem(dem=detectable(normal.dem)),
            shot_format=PackedShotFormat.of_faults(normal.hyperedges),
        )


class CompiledTesseract(sinter.CompiledDecoder):
    """The library's own bit-packed decoder, with its input checked."""

    def __init__(self, search: sinter.CompiledDecoder, *, shot_format: PackedShotFormat) -> None:
        self.search = search
        self.shot_format = shot_format

    def decode_shots_bit_packed(self, *, bit_packed_detection_event_data: np.ndarray) -> np.ndarray:
        """uint8 (shots, ceil(num_detectors/8)) -> uint8 (shots, ceil(num_observables/8))."""
        packed = self.shot_format.checked(bit_packed_detection_event_data)
        return self.search.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
