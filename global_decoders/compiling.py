"""From any DEM to what adapters see: a normal form, and shots without what always happens."""

from __future__ import annotations

import abc
import math

import numpy as np
import sinter
import stim

from global_decoders.packed_shots import checked_packed
from global_decoders.soft_output import WithGap, decode_with_gap
from qec import NormalForm, normal_form

__all__ = [
    "NormalFormDecoder",
    "WithCertainFlips",
    "compile_normal_form",
    "detectable",
    "require_edges",
    "with_certain_flips",
]


class NormalFormDecoder(sinter.Decoder):
    """A decoder that is given DEMs in normal form only."""

    def compile_decoder_for_dem(self, *, dem: stim.DetectorErrorModel) -> sinter.CompiledDecoder:
        """Compile for a DEM by its normal form.

        Raises:
            ValueError: the decoder cannot use the DEM; the message says why, and what to do.
        """
        normal = normal_form(dem)
        return with_certain_flips(self.compile_normal_form(normal), normal)

    @abc.abstractmethod
    def compile_normal_form(self, normal: NormalForm) -> sinter.CompiledDecoder:
        """Compile for the shots of `normal.dem`: those of the DEM that was read, less the certain flips."""


def compile_normal_form(decoder: sinter.Decoder, normal: NormalForm) -> sinter.CompiledDecoder:
    """Compile any sinter decoder for the shots of `normal.dem`; ours read no DEM again."""
    if isinstance(decoder, NormalFormDecoder):
        return decoder.compile_normal_form(normal)
    return decoder.compile_decoder_for_dem(dem=normal.dem)


def with_certain_flips(compiled: sinter.CompiledDecoder, normal: NormalForm) -> sinter.CompiledDecoder:
    """A decoder of `normal.dem` as one of the DEM that was read; itself where nothing is certain."""
    return WithCertainFlips(compiled, normal) if normal.has_certain_flips else compiled


class WithCertainFlips(sinter.CompiledDecoder):
    """Takes what always happens out of shots, decodes the rest, and adds it to the predictions."""

    def __init__(self, compiled: sinter.CompiledDecoder, normal: NormalForm) -> None:
        self.compiled = compiled
        self.num_detectors = normal.num_detectors
        self.detector_flips, self.observable_flips = normal.detector_flips, normal.observable_flips

    def decode_shots_bit_packed(self, *, bit_packed_detection_event_data: np.ndarray) -> np.ndarray:
        """uint8 (shots, ceil(num_detectors/8)) -> uint8 (shots, ceil(num_observables/8))."""
        packed = checked_packed(bit_packed_detection_event_data, num_detectors=self.num_detectors)
        uncertain = np.bitwise_xor(packed, self.detector_flips)
        predictions = self.compiled.decode_shots_bit_packed(bit_packed_detection_event_data=uncertain)
        return np.bitwise_xor(predictions, self.observable_flips)

    def decode_shots_with_gap(
        self, *, bit_packed_detection_event_data: np.ndarray, limit: float = math.inf
    ) -> WithGap:
        """As the decoder within is sure. Raises NoGapError where it does not say."""
        packed = checked_packed(bit_packed_detection_event_data, num_detectors=self.num_detectors)
        found = decode_with_gap(self.compiled, np.bitwise_xor(packed, self.detector_flips), limit=limit)
        return found._replace(predictions=np.bitwise_xor(found.predictions, self.observable_flips))


def detectable(dem: stim.DetectorErrorModel) -> stim.DetectorErrorModel:
    """The DEM, flat, without errors that flip observables alone, which some libraries cannot take."""
    seen = stim.DetectorErrorModel()
    for instruction in dem.flattened():
        if isinstance(instruction, stim.DemInstruction) and (
            instruction.type != "error"
            or any(t.is_relative_detector_id() for group in instruction.target_groups() for t in group)
        ):
            seen.append(instruction)
    if seen.num_observables < dem.num_observables:
        last = stim.target_logical_observable_id(dem.num_observables - 1)
        seen.append("logical_observable", [], [last])
    return seen


def require_edges(dem: stim.DetectorErrorModel, *, decoder: str) -> None:
    """Check that every component of every mechanism has at most two detectors.

    Repeat blocks are checked once, without unrolling.

    Raises:
        ValueError: naming the mechanism, the decoder and what to do.
    """
    for instruction in dem:
        if isinstance(instruction, stim.DemRepeatBlock):
            require_edges(instruction.body_copy(), decoder=decoder)
        elif instruction.type == "error":
            for group in instruction.target_groups():
                if len(group) > 2 and sum(t.is_relative_detector_id() for t in group) > 2:
                    raise ValueError(
                        f"{decoder} matches pairs of detectors and cannot use the mechanism '{instruction}', "
                        "which flips more than two in one component; choose a decoder for hypergraphs "
                        "(bp-osd, bp-lsd, mwpf, tesseract, relay-bp), or build the DEM with "
                        "decompose_errors=True, which helps unless Stim cannot decompose these errors"
                    )
