"""How good a network is: pre-decoded and plain decoders on the same shots."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import sinter
import torch

from global_decoders import make_decoder
from predecoder.decision import DecisionConfig
from predecoder.decoder import CompiledPredecoded
from predecoder.network import Network
from qec import depolarizing, memory_circuit
from qec.layout import DetectorLayout

__all__ = ["DEFAULT_CASES", "EvaluationCase", "PairedCounts", "PairedEvaluator"]

_CHUNK_SHOTS = 4096


@dataclass(frozen=True)
class EvaluationCase:
    """A memory experiment of `distance` rounds under uniform depolarizing noise.

    `perfect_last_round` counts rounds as the paper's reference does; see `qec.memory_circuit`.
    """

    distance: int
    p: float
    basis: str
    shots: int
    perfect_last_round: bool = False


DEFAULT_CASES = (
    EvaluationCase(5, 0.006, "x", 40_000),
    EvaluationCase(5, 0.003, "x", 100_000),
    EvaluationCase(9, 0.006, "x", 20_000),
    EvaluationCase(9, 0.006, "z", 20_000),
    EvaluationCase(9, 0.003, "x", 60_000),
    EvaluationCase(13, 0.006, "x", 8_000),
)


@dataclass(frozen=True)
class PairedCounts:
    """One global decoder with and without the network, on the same shots; counts add.

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

    def __add__(self, other: PairedCounts) -> PairedCounts:
        return PairedCounts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def ratio(self) -> float:
        """LER(plain) / LER(pre-decoded): above 1 the network helps. NaN without errors."""
        return self.errors_plain / self.errors_predecoded if self.errors_predecoded else math.nan

    @property
    def ratio_interval(self) -> tuple[float, float]:
        """95 % interval of `ratio` from the discordant shots (delta method on its logarithm)."""
        if not (self.errors_plain and self.errors_predecoded):
            return math.nan, math.nan
        variance = (self.only_plain + self.only_predecoded) / (self.errors_plain * self.errors_predecoded)
        factor = math.exp(1.96 * math.sqrt(variance))
        return self.ratio / factor, self.ratio * factor

    @property
    def sdr(self) -> float:
        """Syndrome density reduction: density before over after."""
        return self.events / max(1, self.residual_events)


class PairedEvaluator:
    """Decodes one case's shots with each global decoder, plain and behind the network."""

    def __init__(
        self,
        network: Network,
        case: EvaluationCase,
        *,
        device: torch.device,
        decoders: tuple[str, ...] = ("pymatching", "pymatching-correlated"),
        decision: DecisionConfig | None = None,
    ) -> None:
        """Compiles everything once; `decision` replaces the network's own."""
        self._circuit = memory_circuit(
            distance=case.distance,
            rounds=case.distance,
            basis=case.basis,  # pyright: ignore[reportArgumentType]
            noise=depolarizing(case.p),
            perfect_last_round=case.perfect_last_round,
        )
        dem = self._circuit.detector_error_model(decompose_errors=True)
        self._num_detectors = dem.num_detectors
        self._plain = {n: make_decoder(n).compile_decoder_for_dem(dem=dem) for n in decoders}
        layout, first = DetectorLayout.from_dem(dem), self._plain[decoders[0]]
        self._network = CompiledPredecoded(layout, network, first, device=device, decision=decision)

    def run(self, shots: int, *, seed: int) -> dict[str, PairedCounts]:
        """Counts by global decoder, all on the same `shots` shots."""
        sampler = self._circuit.compile_detector_sampler(seed=seed)
        totals = dict.fromkeys(self._plain, PairedCounts())
        for start in range(0, shots, _CHUNK_SHOTS):
            packed, truth = sampler.sample(
                min(_CHUNK_SHOTS, shots - start), separate_observables=True, bit_packed=True
            )
            residual, flips = self._network.decode_to_residual(packed)
            for name, decoder in self._plain.items():
                plain = _wrong(decoder, packed, truth)
                predecoded = _wrong(decoder, residual, truth ^ flips)
                totals[name] += PairedCounts(
                    shots=len(packed),
                    errors_plain=int(plain.sum()),
                    errors_predecoded=int(predecoded.sum()),
                    only_plain=int((plain & ~predecoded).sum()),
                    only_predecoded=int((predecoded & ~plain).sum()),
                    detectors=len(packed) * self._num_detectors,
                    events=int(np.bitwise_count(packed).sum()),
                    residual_events=int(np.bitwise_count(residual).sum()),
                )
        return totals


def _wrong(decoder: sinter.CompiledDecoder, packed: np.ndarray, truth: np.ndarray) -> np.ndarray:
    predicted = decoder.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
    return (predicted != truth).any(axis=1)
