"""`neural-matching`: one matching on the network's logits that explains everything, as a `sinter.Decoder`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import sinter

from global_decoders import UnexplainedShotsError, WithGap, make_decoder, relative_gap
from global_decoders.matching import LogitMatcher, Logits, scaled_gap
from global_decoders.windows import WindowedDecoder, WindowSizes
from predecoder.applicability import OnMismatch
from predecoder.correction.matching import MatchingDecision
from predecoder.correction.move_windows import move_windows
from predecoder.correction.residual_network import ResidualNetwork
from predecoder.inference import EngineOptions, Precision, PrecisionChoice
from predecoder.network_decoder import NetworkDecoder, checked_shots
from predecoder.weights import Bundle
from qec import DecodingProblem

if TYPE_CHECKING:
    from predecoder.network import Network

__all__ = ["CompiledNeuralMatching", "NeuralMatchingDecoder"]


class NeuralMatchingDecoder(NetworkDecoder):
    """Matches all detections on a graph whose weights are, for every shot, the network's logits.

    With `windows`, a few layers at a time, as a stream does. Nothing is left for another decoder. DEMs that
    the network cannot be used on are decoded by PyMatching.
    """

    def __init__(
        self,
        *,
        weights: str | Path = "default",
        device: str = "auto",
        precision: PrecisionChoice = "auto",
        on_mismatch: OnMismatch = "warn",
        batch_shots: int | None = None,
        threads: int | None = None,
        windows: WindowSizes | None = None,
    ) -> None:
        """Find and hash the weights.

        Args:
            weights, on_mismatch: see `NetworkDecoder`.
            device, precision, batch_shots, threads: see `EngineOptions`.
            windows: how they are arranged, on the network's logits of the whole shot; None for one matching.

        Raises:
            WeightsError, ValueError: see `NetworkDecoder`.
        """
        super().__init__(
            without_network=make_decoder("pymatching") if windows is None else _in_windows(windows),
            weights=weights,
            on_mismatch=on_mismatch,
            options=EngineOptions(device, precision=precision, batch_shots=batch_shots, threads=threads),
        )
        self.windows = windows

    def _compiled(
        self, problem: DecodingProblem, bundles: Sequence[Bundle], options: EngineOptions
    ) -> CompiledNeuralMatching:
        (bundle,) = bundles
        scale = bundle.policies.gap_scale
        return CompiledNeuralMatching(problem, bundle.network, options, windows=self.windows, gap_scale=scale)


class CompiledNeuralMatching(sinter.CompiledDecoder):
    """A network and the matching on its logits, ready for the shots of one DEM.

    All arrays of shots are bit-packed uint8 `(shots, ceil(n / 8))`, LSB first.
    """

    def __init__(
        self,
        problem: DecodingProblem,
        network: Network,
        options: EngineOptions,
        *,
        gap_scale: float = 1.0,
        windows: WindowSizes | None = None,
    ) -> None:
        """Prepare engine and matching.

        Args:
            problem: of the DEM.
            network: weighs moves.
            options: where it runs, and how.
            gap_scale: see `Policies`.
            windows: how they are arranged; None for one matching.

        Raises:
            ValueError: windows that cannot decode this DEM.
        """
        self.layout, self._gap_scale = problem.layout, gap_scale
        self._residual = ResidualNetwork(problem, network, options)
        self._decision, self._moves = MatchingDecision(problem), problem.moves
        self._windows = None if windows is None else move_windows(problem, windows)

    @property
    def precision(self) -> Precision:
        """What the network computes in."""
        return self._residual.logits.precision

    @property
    def batch_shots(self) -> int:
        """Shots that go through the network at a time."""
        return self._residual.batch_shots

    def logits(self, packed: np.ndarray) -> np.ndarray:
        """The network's logits of all moves: float32 `(shots, moves)`."""
        return self._residual.logits(packed)

    def match(self, logits: np.ndarray, packed: np.ndarray) -> np.ndarray:
        """The likeliest moves that explain the shots: uint8 0/1 `(shots, moves)`."""
        return self._decision(logits, packed)

    def log_odds(self, packed: np.ndarray, *, limit: float = math.inf) -> np.ndarray:
        """How likely observables are not flipped: float32 `(shots, num_observables)`.

        The likeliest moves that leave one alone against the likeliest that flip it, in nats, times
        `gap_scale`; NaN for shots that nothing explains.

        Args:
            packed: detections.
            limit: log-odds beyond it, either way, are `limit` or `-limit`, and take less time.

        Raises:
            ValueError: the shots are of another shape, or a cycle of moves between detectors flips an
                observable.
        """
        shots = checked_shots(packed, self.layout.num_detectors)
        log_odds = np.empty((len(shots), self.layout.num_observables), dtype=np.float32)
        for part in self._parts(shots):
            log_odds[part] = self._log_odds(self.logits(shots[part]), shots[part], limit=limit)
        return log_odds

    def _log_odds(self, logits: Logits, shots: np.ndarray, *, limit: float = math.inf) -> np.ndarray:
        log_odds = np.empty((len(shots), len(self._of_classes)), dtype=np.float32)
        for k, matcher in enumerate(self._of_classes):
            log_odds[:, k] = scaled_gap(
                lambda most, matcher=matcher: matcher.gap(logits, shots, limit=most),
                scale=self._gap_scale,
                limit=limit,
            )
        return log_odds

    @cached_property
    def _of_classes(self) -> list[LogitMatcher]:
        """Of every observable, a matching that has its classes."""
        return [
            LogitMatcher(
                self._moves.ends,
                num_detectors=self.layout.num_detectors,
                flips=self._moves.observables[k].toarray().ravel(),
            )
            for k in range(self.layout.num_observables)
        ]

    def decode_shots_bit_packed(self, *, bit_packed_detection_event_data: np.ndarray) -> np.ndarray:
        """Predicted observable flips: uint8 `(shots, ceil(num_observables / 8))`.

        Raises:
            ValueError: the data are not uint8 of ceil(num_detectors / 8) bytes a shot, or a detector fired
                that no mechanism of the DEM flips.
        """
        shots = checked_shots(bit_packed_detection_event_data, self.layout.num_detectors)
        if self._windows is not None:
            return self._in_windows(shots)
        ((residual, flips),) = self._residual.residuals(shots, [self._decision])
        _require_explained(residual)
        return flips

    def decode_shots_with_gap(
        self, *, bit_packed_detection_event_data: np.ndarray, limit: float = math.inf
    ) -> WithGap:
        """The same predictions, and their gaps, up to `limit`; see `log_odds`.

        Windows' predictions, too, have the gaps of one matching of the whole shot.

        Raises:
            ValueError: as `decode_shots_bit_packed` and `log_odds`.
        """
        shots = checked_shots(bit_packed_detection_event_data, self.layout.num_detectors)
        log_odds = np.zeros((len(shots), self.layout.num_observables))
        predictions = np.zeros((len(shots), -(-self.layout.num_observables // 8)), dtype=np.uint8)
        for part in self._parts(shots):
            logits = self.logits(shots[part])
            log_odds[part] = self._log_odds(logits, shots[part], limit=limit)
            predictions[part] = self._predictions(logits, shots[part], log_odds[part], start=part.start)
        return WithGap(predictions, relative_gap(log_odds, predictions))

    def _predictions(
        self, logits: np.ndarray, shots: np.ndarray, log_odds: np.ndarray, *, start: int
    ) -> np.ndarray:
        """What `decode_shots_bit_packed` gives: by the signs of gaps, unless they are near a tie.

        Args:
            logits, shots, log_odds: of some shots of a batch.
            start: the first one's number in it.
        """
        if self._windows is not None:
            return self._windows.decode(shots, logits)
        predictions = np.packbits(log_odds < 0, axis=1, bitorder="little")
        near = np.flatnonzero(~(np.abs(log_odds) > _TIE).all(axis=1))  # not a number, too
        if len(near):
            residual, predictions[near] = self._residual.apply(
                shots[near], self.match(logits[near], shots[near])
            )
            _require_explained(residual, numbers=start + near)
        return predictions

    def _parts(self, shots: np.ndarray) -> list[slice]:
        size = _BATCHES * self.batch_shots
        return [slice(start, start + size) for start in range(0, len(shots), size)]

    def _in_windows(self, shots: np.ndarray) -> np.ndarray:
        assert self._windows is not None
        flips = [self._windows.decode(shots[part], self.logits(shots[part])) for part in self._parts(shots)]
        return np.concatenate([np.zeros((0, -(-self.layout.num_observables // 8)), dtype=np.uint8), *flips])


def _require_explained(residual: np.ndarray, numbers: np.ndarray | None = None) -> None:
    """Raise UnexplainedShotsError for shots (of those `numbers`) that moves leave detections of."""
    unexplained = np.flatnonzero(residual.any(axis=1))
    if len(unexplained):
        left = np.flatnonzero(np.unpackbits(residual[unexplained[0]], bitorder="little"))
        raise UnexplainedShotsError(
            f"nothing explains detector D{left[0]}, which no mechanism of the DEM flips; give a DEM with "
            "noise there",
            shots=unexplained if numbers is None else numbers[unexplained],
        )


_TIE = 1e-3
"""Nats within which rounding may decide between two matchings."""


_BATCHES = 8
"""Batches of the network whose windows, or classes, are decoded at a time."""


def _in_windows(sizes: WindowSizes) -> WindowedDecoder:
    return WindowedDecoder(commit=sizes.commit, buffer=sizes.buffer, mode=sizes.mode)
