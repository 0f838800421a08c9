"""`neural-matching`: one matching on the network's logits that explains everything, as a `sinter.Decoder`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import sinter

from global_decoders import make_decoder
from global_decoders.matching import LogitMatcher
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
        self, problem: DecodingProblem, bundle: Bundle, options: EngineOptions
    ) -> CompiledNeuralMatching:
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
        self._of_classes: dict[int, LogitMatcher] = {}

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

    def gap(self, packed: np.ndarray, *, observable: int = 0, limit: float = math.inf) -> np.ndarray:
        """How sure the prediction is: log-odds of the observable not being flipped, float32 `(shots,)`.

        The likeliest moves that leave it alone against the likeliest that flip it, in nats, times
        `gap_scale`; NaN for shots that nothing explains.

        Args:
            packed: detections.
            observable: which one.
            limit: larger gaps are `limit`, or `-limit`, and take less time.

        Raises:
            ValueError: the shots are of another shape, or a cycle of moves between detectors flips the
                observable.
        """
        shots = checked_shots(packed, self.layout.num_detectors)
        if observable not in self._of_classes:
            self._of_classes[observable] = LogitMatcher(
                self._moves.ends,
                num_detectors=self.layout.num_detectors,
                flips=np.asarray(self._moves.observables[observable].todense()).ravel(),
            )
        costs = self._of_classes[observable].gap(self.logits(shots), shots, limit=limit / self._gap_scale)
        return costs * np.float32(self._gap_scale)

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
        unexplained = np.flatnonzero(residual.any(axis=1))
        if len(unexplained):
            left = np.flatnonzero(np.unpackbits(residual[unexplained[0]], bitorder="little"))
            raise ValueError(
                f"shot {unexplained[0]}: nothing explains detector D{left[0]}, which no mechanism of the DEM "
                "flips; give a DEM with noise there"
            )
        return flips

    def _in_windows(self, shots: np.ndarray) -> np.ndarray:
        assert self._windows is not None
        size = _BATCHES * self.batch_shots
        parts = [shots[start : start + size] for start in range(0, len(shots), size)]
        flips = [self._windows.decode(part, self.logits(part)) for part in parts]
        return np.concatenate([np.zeros((0, -(-self.layout.num_observables // 8)), dtype=np.uint8), *flips])


_BATCHES = 8
"""Batches of the network whose windows are decoded at a time."""


def _in_windows(sizes: WindowSizes) -> WindowedDecoder:
    return WindowedDecoder(commit=sizes.commit, buffer=sizes.buffer, mode=sizes.mode)
