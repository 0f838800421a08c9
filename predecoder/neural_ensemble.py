"""`neural-ensemble`: `neural-matching`, and second opinions of the few shots that it is unsure of.

Most shots that a network fails on are among the few that it doubts, whose gap is small. Those are decided by
the mean of several gaps: of this network on the shot seen backwards (`DecodingProblem.from_normal_form`),
whose mistakes are others, of further networks either way if any are given, and by the gap of correlated
PyMatching, which knows what networks see least of: how far away errors of the other type were matched. As
few shots are asked about, this costs little.

Shape legend: B shots, O observables.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sinter

from global_decoders import WithGap, compile_normal_form, decode_with_gap, make_decoder, relative_gap
from predecoder.applicability import OnMismatch
from predecoder.inference import EngineOptions, PrecisionChoice
from predecoder.network_decoder import NetworkDecoder, checked_shots
from predecoder.neural_matching import CompiledNeuralMatching
from predecoder.weights import Bundle, WeightsError, load_bundle, resolve_weights
from qec import DecodingProblem

__all__ = ["CompiledNeuralEnsemble", "NeuralEnsembleDecoder"]

_AT_ONCE = 2048
"""Shots that are looked at together: enough for the few doubtful ones among them to fill a batch."""


class NeuralEnsembleDecoder(NetworkDecoder):
    """Matches on a network's logits, and asks for second opinions where the gap is small.

    DEMs that the network cannot be used on are decoded by PyMatching.
    """

    def __init__(
        self,
        *,
        weights: str | Path = "default",
        opinions: Sequence[str | Path] = (),
        doubtful: float = 3.0,
        vote: float = 0.5,
        device: str = "auto",
        precision: PrecisionChoice = "auto",
        on_mismatch: OnMismatch = "warn",
        batch_shots: int | None = None,
        threads: int | None = None,
    ) -> None:
        """Find and hash the weights; for the other arguments see `NetworkDecoder` and `EngineOptions`.

        Args:
            weights: of the network that sees all shots.
            opinions: weights of other networks, which see the doubtful ones.
            doubtful: nats of the first gap below which a shot is doubtful; 0 for `neural-matching`.
            vote: what correlated PyMatching's gap counts beside the mean of the networks'; 0 to leave it out.

        Raises:
            WeightsError, ValueError: see `NetworkDecoder`; or `doubtful` or `vote` is negative.
        """
        for name, value in (("doubtful", doubtful), ("vote", vote)):
            if not value >= 0:
                raise ValueError(f"{name}={value!r} is not a number from 0 on")
        super().__init__(
            without_network=make_decoder("pymatching"),
            weights=weights,
            on_mismatch=on_mismatch,
            options=EngineOptions(device, precision=precision, batch_shots=batch_shots, threads=threads),
        )
        self.doubtful, self.vote = doubtful, vote
        self.opinions = tuple(resolve_weights(opinion) for opinion in opinions)

    @property
    def policy(self) -> str:
        """What results depend on besides the first weights: for a row of results."""
        names = "".join(f", {file.path.stem}@{file.sha256[:8]}" for file in self.opinions)
        return f"doubtful {self.doubtful:g}{names}, vote {self.vote:g}"

    def _compiled(
        self, problem: DecodingProblem, bundle: Bundle, options: EngineOptions
    ) -> CompiledNeuralEnsemble:
        backwards = DecodingProblem.from_normal_form(problem.normal, backwards=True)
        first, *others = (
            CompiledNeuralMatching(seen, network, dataclasses.replace(options, precision=precision))
            for network, precision in self._networks(bundle)
            for seen in (problem, backwards)
        )
        correlated = None
        if self.vote:
            correlated = compile_normal_form(make_decoder("pymatching-correlated"), problem.normal)
        return CompiledNeuralEnsemble(
            first,
            others,
            correlated=correlated,
            doubtful=self.doubtful,
            vote=self.vote,
            gap_scale=bundle.policies.gap_scale,
        )

    def _networks(self, bundle: Bundle) -> list[tuple[Any, PrecisionChoice]]:
        """Networks and what they compute in: others in that of their own weights."""
        networks: list[tuple[Any, PrecisionChoice]] = [(bundle.network, self.precision)]
        for file in self.opinions:
            if resolve_weights(file.path).sha256 != file.sha256:
                raise WeightsError(f"{file.path} changed while in use; start again")
            networks.append((load_bundle(file.path).network, "auto"))
        return networks


class CompiledNeuralEnsemble(sinter.CompiledDecoder):
    """Networks on one DEM, of which the first sees every shot.

    All arrays of shots are bit-packed uint8 `(B, ceil(n / 8))`, LSB first.
    """

    def __init__(
        self,
        first: CompiledNeuralMatching,
        others: Sequence[CompiledNeuralMatching],
        *,
        correlated: sinter.CompiledDecoder | None,
        doubtful: float,
        vote: float,
        gap_scale: float = 1.0,
    ) -> None:
        """Take them together.

        Args:
            first: its gap says which shots are doubtful.
            others: give second opinions of those.
            correlated: a decoder whose gap counts besides; None if none does.
            doubtful: nats below which the first gap is small.
            vote: factor on the gap of `correlated`.
            gap_scale: factor on the gaps of `decode_shots_with_gap`; see `Policies`.
        """
        self._first, self._others, self._correlated = first, tuple(others), correlated
        self._doubtful, self._vote = doubtful, vote
        self._limit = doubtful or 1.0  # of 0 nothing would be left of a gap
        self._gap_scale = gap_scale

    def decode_shots_bit_packed(self, *, bit_packed_detection_event_data: np.ndarray) -> np.ndarray:
        """Predicted observable flips: uint8 `(B, ceil(O / 8))`.

        Raises:
            ValueError: the data are not uint8 of ceil(num_detectors / 8) bytes a shot, or a detector fired
                that no mechanism of the DEM flips.
        """
        layout = self._first.layout
        shots = checked_shots(bit_packed_detection_event_data, layout.num_detectors)
        flips = np.empty((len(shots), layout.num_observables), dtype=np.uint8)
        for start in range(0, len(shots), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            flips[part] = self.gaps(shots[part]) < 0
        return np.packbits(flips, axis=1, bitorder="little")

    def decode_shots_with_gap(self, *, bit_packed_detection_event_data: np.ndarray) -> WithGap:
        """The same predictions, and `gaps` of any size times `gap_scale`."""
        layout = self._first.layout
        shots = checked_shots(bit_packed_detection_event_data, layout.num_detectors)
        gaps = np.zeros((len(shots), layout.num_observables))
        for start in range(0, len(shots), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            gaps[part] = self.gaps(shots[part], limit=math.inf)
        predictions = np.packbits(gaps < 0, axis=1, bitorder="little")
        return WithGap(predictions, relative_gap(self._gap_scale * gaps, predictions))

    def gaps(self, packed: np.ndarray, *, limit: float | None = None) -> np.ndarray:
        """Which class is likelier: positive where an observable is not flipped, float64 `(B, O)`.

        The first network's; of doubtful shots the mean of all, and `vote` times the gap of `correlated`, in
        nats: the opinion on a shot, not a calibrated probability. Those of doubtful shots count at most
        `doubtful` either way.

        Args:
            packed: detections.
            limit: of the first network's gaps, either way; None for `doubtful`, which takes the least time.

        Raises:
            ValueError: a detector fired that no mechanism of the DEM flips.
        """
        limit = self._limit if limit is None else limit
        observables = range(self._first.layout.num_observables)
        gaps = np.stack([self._gap(self._first, packed, k, limit) for k in observables], axis=1)
        asked = np.flatnonzero((np.abs(gaps) < self._doubtful).any(axis=1))
        if len(asked):
            gaps[asked] = self._opinion(packed[asked], gaps[asked])
        return gaps

    def _gap(
        self, decoder: CompiledNeuralMatching, packed: np.ndarray, observable: int, limit: float
    ) -> np.ndarray:
        gap = decoder.gap(packed, observable=observable, limit=limit)
        nowhere = np.flatnonzero(np.isnan(gap))
        if len(nowhere):
            raise ValueError(
                f"shot {nowhere[0]}: nothing explains its detections, of which no mechanism of the DEM flips "
                "one; give a DEM with noise there"
            )
        return gap.astype(np.float64)

    def _opinion(self, packed: np.ndarray, first: np.ndarray) -> np.ndarray:
        """The mean of all gaps of doubtful shots, of which the first network's are known."""
        observables = range(self._first.layout.num_observables)
        total = np.clip(first, -self._limit, self._limit)
        for decoder in self._others:
            total += np.stack([self._gap(decoder, packed, k, self._limit) for k in observables], axis=1)
        mean = total / (1 + len(self._others))
        if self._correlated is None:
            return mean
        log_odds = decode_with_gap(self._correlated, packed).log_odds.astype(np.float64)
        return mean + self._vote * np.clip(log_odds, -self._limit, self._limit)
