"""`predecoder+X`: a network in front of any registered decoder X, as a `sinter.Decoder`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import sinter

from global_decoders import WithGap, compile_normal_form, decode_with_gap
from predecoder.applicability import OnMismatch
from predecoder.correction.decision import Decision, automatic_policy, make_decision
from predecoder.correction.policies import PolicyName
from predecoder.correction.residual_network import ResidualNetwork
from predecoder.inference import EngineOptions, Precision, PrecisionChoice
from predecoder.network_decoder import NetworkDecoder, checked_shots
from predecoder.weights import Bundle
from qec import DecodingProblem

if TYPE_CHECKING:
    from predecoder.network import Network

__all__ = ["CompiledPredecoded", "PredecodedDecoder"]


class PredecodedDecoder(NetworkDecoder):
    """Removes local errors with a network, then decodes the residual with a global decoder."""

    def __init__(
        self,
        global_decoder: sinter.Decoder,
        *,
        weights: str | Path = "default",
        device: str = "auto",
        precision: PrecisionChoice = "auto",
        on_mismatch: OnMismatch = "warn",
        policy: PolicyName | Literal["auto"] = "auto",
        batch_shots: int | None = None,
        threads: int | None = None,
    ) -> None:
        """Find and hash the weights.

        Args:
            global_decoder: decodes the residual syndrome with the unchanged DEM.
            policy: 'threshold' commits clusters of moves that the network is sure of; 'consistent' clusters
                in which a matching of the whole shot agrees with it; 'abstain' explains a shot whole, or
                leaves it whole; 'complete' commits clusters that explain every detection
                they touch; 'auto' picks by the global decoder (`predecoder.correction`).
            weights, on_mismatch: see `NetworkDecoder`.
            device, precision, batch_shots, threads: see `EngineOptions`.

        Raises:
            WeightsError, ValueError: see `NetworkDecoder`.
        """
        known = ("auto", *get_args(PolicyName))
        if policy not in known:
            raise ValueError(f"policy={policy!r} is unknown; use one of {', '.join(known)}")
        super().__init__(
            without_network=global_decoder,
            weights=weights,
            on_mismatch=on_mismatch,
            options=EngineOptions(device, precision=precision, batch_shots=batch_shots, threads=threads),
        )
        self.policy: PolicyName = automatic_policy(global_decoder) if policy == "auto" else policy
        self.global_decoder = global_decoder

    def _compiled(
        self, problem: DecodingProblem, bundles: Sequence[Bundle], options: EngineOptions
    ) -> CompiledPredecoded:
        (bundle,) = bundles
        return CompiledPredecoded(
            problem,
            bundle.removal_network,
            compile_normal_form(self.global_decoder, problem.normal),
            decision=make_decision(bundle.policies, self.policy, problem),
            options=options,
        )


class CompiledPredecoded(sinter.CompiledDecoder):
    """A network and a global decoder, ready for the shots of one DEM.

    One shot's way: `propose` (gather to the grid, network, decision), `apply` (residual and flips),
    `global_decoder`, XOR. All arrays of shots are bit-packed uint8 `(shots, ceil(n / 8))`, LSB first.
    """

    def __init__(
        self,
        problem: DecodingProblem,
        network: Network,
        global_decoder: sinter.CompiledDecoder,
        *,
        decision: Decision,
        options: EngineOptions,
    ) -> None:
        """Prepare the engine.

        Args:
            problem: of the DEM that `global_decoder` was compiled for.
            network: proposes moves.
            global_decoder: decodes what they leave.
            decision: commits moves; see `make_decision`.
            options: where the network runs, and how.
        """
        self.layout = problem.layout
        self.global_decoder = global_decoder
        self._residual = ResidualNetwork(problem, network, options)
        self._decision = decision

    @property
    def precision(self) -> Precision:
        """What the network computes in."""
        return self._residual.logits.precision

    @property
    def batch_shots(self) -> int:
        """Shots that go through the network at a time."""
        return self._residual.batch_shots

    def propose(self, packed: np.ndarray) -> np.ndarray:
        """Moves that the network proposes and the decision commits: uint8 0/1 `(shots, moves)`."""
        return self._residual.propose(packed, [self._decision])[0]

    def apply(self, packed: np.ndarray, moves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residual syndrome and observable flips of moves uint8 0/1 `(shots, moves)`, bit-packed."""
        return self._residual.apply(packed, moves)

    def decode_to_residual(self, packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residual syndrome and observable flips that the network leaves, in cache-sized batches."""
        return self._residual.residuals(packed, [self._decision])[0]

    def decode_shots_bit_packed(self, *, bit_packed_detection_event_data: np.ndarray) -> np.ndarray:
        """Predicted observable flips: uint8 `(shots, ceil(num_observables / 8))`.

        Raises:
            ValueError: the data are not uint8 of ceil(num_detectors / 8) bytes a shot.
        """
        shots = checked_shots(bit_packed_detection_event_data, self.layout.num_detectors)
        residual, flips = self.decode_to_residual(shots)
        predicted = self.global_decoder.decode_shots_bit_packed(bit_packed_detection_event_data=residual)
        return predicted ^ flips

    def decode_shots_with_gap(
        self, *, bit_packed_detection_event_data: np.ndarray, limit: float = math.inf
    ) -> WithGap:
        """The same predictions, and the global decoder's gaps: how sure they are if the moves are right.

        Raises:
            NoGapError: the global decoder has none.
            ValueError: as `decode_shots_bit_packed`.
        """
        shots = checked_shots(bit_packed_detection_event_data, self.layout.num_detectors)
        residual, flips = self.decode_to_residual(shots)
        found = decode_with_gap(self.global_decoder, residual, limit=limit)
        return found._replace(predictions=found.predictions ^ flips)
