"""How good a network is: pre-decoded and plain decoders on the same shots."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import sinter
import stim
import torch

from global_decoders import make_decoder
from predecoder.correction import (
    Decision,
    MatchingDecision,
    Policies,
    PolicyName,
    ResidualNetwork,
    automatic_policy,
    make_decision,
)
from predecoder.inference import EngineOptions, PrecisionChoice
from predecoder.network import Network, removal_network
from qec import DecodingProblem, LocationVariation, depolarizing, memory_circuit, ratio_of_errors, si1000

__all__ = [
    "AGAINST_CORRELATED",
    "DEFAULT_CASES",
    "DEFAULT_DECODERS",
    "EvaluationCase",
    "Noise",
    "PairedCounts",
    "PairedDecoders",
    "PairedEvaluator",
]

AGAINST_CORRELATED = "neural-matching against pymatching-correlated"
DEFAULT_DECODERS = (
    "neural-matching",
    AGAINST_CORRELATED,
    "predecoder+pymatching",
    "predecoder+pymatching-correlated",
)
_NEURAL_MATCHING = "neural-matching"
_CHUNK_SHOTS = 4096
_VARIATION_SEED = 5
Noise = Literal["depolarizing", "si1000", "measurement-3x", "log-normal-0.5"]


@dataclass(frozen=True)
class EvaluationCase:
    """A memory experiment of `distance` rounds.

    `perfect_last_round` counts rounds as the paper's reference does; see `qec.memory_circuit`.
    `noise` is one of `Noise`: the paper's, SI1000, measurement errors three times the paper's, or
    the paper's with every location's rates scaled by a log-normal factor of sigma 0.5.
    """

    distance: int
    p: float
    basis: str
    shots: int
    perfect_last_round: bool = False
    noise: Noise = "depolarizing"

    def circuit(self) -> stim.Circuit:
        """The experiment."""
        model, variation = depolarizing(self.p), None
        if self.noise == "si1000":
            model = si1000(self.p)
        elif self.noise == "measurement-3x":
            model = replace(model, meas_x=3 * model.meas_x, meas_z=3 * model.meas_z)
        elif self.noise == "log-normal-0.5":
            variation = LocationVariation(sigma=0.5, seed=_VARIATION_SEED)
        return memory_circuit(
            distance=self.distance,
            rounds=self.distance,
            basis=self.basis,  # pyright: ignore[reportArgumentType]
            noise=model,
            variation=variation,
            perfect_last_round=self.perfect_last_round,
        )


DEFAULT_CASES = (
    EvaluationCase(5, 0.006, "x", 40_000),
    EvaluationCase(5, 0.003, "x", 100_000),
    EvaluationCase(9, 0.006, "x", 20_000),
    EvaluationCase(9, 0.006, "z", 20_000),
    EvaluationCase(9, 0.003, "x", 60_000),
    EvaluationCase(13, 0.006, "x", 10_000),
)


@dataclass(frozen=True)
class PairedCounts:
    """A decoder with the network and the one without, on the same shots; counts add.

    Attributes:
        shots: number of shots, all decoded both ways.
        errors_plain, errors_predecoded: logical errors without and with the network.
        only_plain, only_predecoded: discordant shots, wrong in one way only.
        detectors: number of detectors times shots.
        events, residual_events: detection events before and after the network.
    """

    shots: int = 0
    errors_plain: int = 0
    errors_predecoded: int = 0
    only_plain: int = 0
    only_predecoded: int = 0
    detectors: int = 0
    events: int = 0
    residual_events: int = 0

    @classmethod
    def of_shots(
        cls,
        plain: np.ndarray,
        predecoded: np.ndarray,
        *,
        packed: np.ndarray,
        residual: np.ndarray,
        detectors: int,
    ) -> PairedCounts:
        """Counts of one batch.

        Args:
            plain, predecoded: bool `(B,)`: which shots are decoded wrongly without and with the network.
            packed, residual: bit-packed uint8 `(B, ceil(detectors / 8))`: the syndrome before and after.
            detectors: of the circuit.
        """
        return cls(
            shots=len(packed),
            errors_plain=int(plain.sum()),
            errors_predecoded=int(predecoded.sum()),
            only_plain=int((plain & ~predecoded).sum()),
            only_predecoded=int((predecoded & ~plain).sum()),
            detectors=len(packed) * detectors,
            events=int(np.bitwise_count(packed).sum()),
            residual_events=int(np.bitwise_count(residual).sum()),
        )

    def __add__(self, other: PairedCounts) -> PairedCounts:
        return PairedCounts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def ratio(self) -> float:
        """LER(plain) / LER(pre-decoded): above 1 the network helps. NaN without errors."""
        return self.errors_plain / self.errors_predecoded if self.errors_predecoded else math.nan

    @property
    def ratio_interval(self) -> tuple[float, float]:
        """95 % interval of `ratio` from the discordant shots; NaN where a side has no errors."""
        discordant = self.only_plain + self.only_predecoded
        ratio = ratio_of_errors(self.errors_plain, self.errors_predecoded, variance=discordant)
        return ratio.low, ratio.high

    @property
    def sdr(self) -> float:
        """Syndrome density reduction: density before over after."""
        return self.events / max(1, self.residual_events)


class PairedDecoders:
    """Decoders with the network, each beside the one it takes the place of, on the same shots.

    `predecoder+X` is compared with X, and `neural-matching` with PyMatching; as `AGAINST_CORRELATED`, with
    correlated PyMatching.
    """

    def __init__(
        self,
        network: Network,
        policies: Policies,
        dem: stim.DetectorErrorModel,
        *,
        device: torch.device,
        decoders: tuple[str, ...] = DEFAULT_DECODERS,
        policy: PolicyName | None = None,
        precision: PrecisionChoice = "auto",
    ) -> None:
        """Compile everything once.

        Args:
            network: gives logits, once for all decoders (with a removal head, once for `predecoder+X`).
            policies: its own.
            dem: of a memory experiment.
            device: where the network runs.
            decoders: `neural-matching`, `AGAINST_CORRELATED` and names of `predecoder+X`.
            policy: of all `predecoder+X`; by default, each has the one that suits X.
            precision: what the network computes in; see `EngineOptions`.
        """
        problem = DecodingProblem.from_dem(dem)
        self._num_detectors = problem.layout.num_detectors
        self._plain: dict[str, sinter.CompiledDecoder] = {}
        self._decisions: dict[str, Decision] = {}
        compiled: dict[str, sinter.CompiledDecoder] = {}
        for name in decoders:
            plain = _plain_decoder(name)
            maker = make_decoder(plain)
            if plain not in compiled:
                compiled[plain] = maker.compile_decoder_for_dem(dem=dem)
            self._plain[name] = compiled[plain]
            if not name.startswith(_NEURAL_MATCHING):
                self._decisions[name] = make_decision(policies, policy or automatic_policy(maker), problem)
            elif _NEURAL_MATCHING not in self._decisions:
                self._decisions[_NEURAL_MATCHING] = MatchingDecision(problem)
        removal = removal_network(network)
        matched = [name for name in self._decisions if removal is network or name == _NEURAL_MATCHING]
        removed = [name for name in self._decisions if name not in matched]
        self._residuals = [
            (ResidualNetwork(problem, of, EngineOptions(device, precision=precision)), names)
            for of, names in ((network, matched), (removal, removed))
            if names
        ]

    def count(self, packed: np.ndarray, truth: np.ndarray) -> dict[str, PairedCounts]:
        """Counts by decoder.

        Args:
            packed: detections, bit-packed uint8 `(shots, ceil(num_detectors / 8))` LSB first.
            truth: observable flips, bit-packed uint8 `(shots, ceil(num_observables / 8))` LSB first.
        """
        left = {}
        for residual, names in self._residuals:
            decisions = [self._decisions[name] for name in names]
            left |= dict(zip(names, residual.residuals(packed, decisions), strict=True))
        counts = {}
        for name, decoder in self._plain.items():
            residual, flips = left[_NEURAL_MATCHING if name == AGAINST_CORRELATED else name]
            counts[name] = PairedCounts.of_shots(
                _wrong(decoder, packed, truth),
                _wrong(decoder, residual, truth ^ flips),
                packed=packed,
                residual=residual,
                detectors=self._num_detectors,
            )
        return counts


class PairedEvaluator:
    """Samples one case's shots and counts them by `PairedDecoders`."""

    def __init__(
        self,
        network: Network,
        policies: Policies,
        case: EvaluationCase,
        *,
        device: torch.device,
        policy: PolicyName | None = None,
    ) -> None:
        self._circuit = case.circuit()
        dem = self._circuit.detector_error_model(decompose_errors=True, approximate_disjoint_errors=True)
        self._decoders = PairedDecoders(network, policies, dem, device=device, policy=policy)

    def run(self, shots: int, *, seed: int) -> dict[str, PairedCounts]:
        """Counts by decoder, all on the same `shots` shots."""
        sampler = self._circuit.compile_detector_sampler(seed=seed)
        totals: dict[str, PairedCounts] = {}
        for start in range(0, shots, _CHUNK_SHOTS):
            packed, truth = sampler.sample(
                min(_CHUNK_SHOTS, shots - start), separate_observables=True, bit_packed=True
            )
            for name, counts in self._decoders.count(packed, truth).items():
                totals[name] = totals.get(name, PairedCounts()) + counts
        return totals


def _plain_decoder(name: str) -> str:
    """Name of the decoder that one with the network is compared with."""
    if name == AGAINST_CORRELATED:
        return "pymatching-correlated"
    return "pymatching" if name == _NEURAL_MATCHING else name.removeprefix("predecoder+")


def _wrong(decoder: sinter.CompiledDecoder, packed: np.ndarray, truth: np.ndarray) -> np.ndarray:
    predicted = decoder.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
    return (predicted != truth).any(axis=1)
