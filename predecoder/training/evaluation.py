"""How good a network is: pre-decoded and plain decoders on the same shots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sinter
import torch

from global_decoders import make_decoder
from predecoder.decoder import CompiledPredecoded
from predecoder.network import Network
from qec import depolarizing, memory_circuit
from qec.layout import DetectorLayout

__all__ = ["DEFAULT_CASES", "EvaluationCase", "PairedResult", "evaluate"]


@dataclass(frozen=True)
class EvaluationCase:
    """A memory experiment of `distance` rounds under uniform depolarizing noise."""

    distance: int
    p: float
    basis: str
    shots: int


DEFAULT_CASES = (
    EvaluationCase(5, 0.006, "x", 40_000),
    EvaluationCase(5, 0.003, "x", 100_000),
    EvaluationCase(9, 0.006, "x", 20_000),
    EvaluationCase(9, 0.006, "z", 20_000),
    EvaluationCase(9, 0.003, "x", 60_000),
    EvaluationCase(13, 0.006, "x", 8_000),
)


@dataclass(frozen=True)
class PairedResult:
    """One global decoder with and without the network, on the same shots.

    Attributes:
        decoder: name of the global decoder.
        shots: number of shots, all decoded both ways.
        errors_plain, errors_predecoded: logical errors without and with the network.
        only_plain, only_predecoded: discordant shots, wrong in one way only.
        density, residual_density: detection events per detector, before and after the network.
    """

    case: EvaluationCase
    decoder: str
    shots: int
    errors_plain: int
    errors_predecoded: int
    only_plain: int
    only_predecoded: int
    density: float
    residual_density: float

    @property
    def ratio(self) -> float:
        """LER(plain) / LER(pre-decoded): above 1 the network helps."""
        return self.errors_plain / max(1, self.errors_predecoded)

    @property
    def sdr(self) -> float:
        """Syndrome density reduction: density before over after."""
        return self.density / max(self.residual_density, 1e-12)


def evaluate(
    network: Network,
    case: EvaluationCase,
    *,
    seed: int,
    device: torch.device,
    decoders: tuple[str, ...] = ("pymatching", "pymatching-correlated"),
) -> list[PairedResult]:
    """Decodes `case.shots` shots with each decoder, plain and behind the network."""
    circuit = memory_circuit(
        distance=case.distance,
        rounds=case.distance,
        basis=case.basis,  # pyright: ignore[reportArgumentType]
        noise=depolarizing(case.p),
    )
    dem = circuit.detector_error_model(decompose_errors=True)
    packed, truth = circuit.compile_detector_sampler(seed=seed).sample(
        case.shots, separate_observables=True, bit_packed=True
    )
    plain = {n: make_decoder(n).compile_decoder_for_dem(dem=dem) for n in decoders}
    first = plain[decoders[0]]
    compiled = CompiledPredecoded(DetectorLayout.from_dem(dem), network, first, device=device)
    residual, flips = compiled.decode_to_residual(packed)
    detectors = case.shots * dem.num_detectors
    densities = [float(np.bitwise_count(s).sum()) / detectors for s in (packed, residual)]
    results = []
    for name, decoder in plain.items():
        wrong_plain = _wrong(decoder, packed, truth)
        wrong_predecoded = _wrong(decoder, residual, truth ^ flips)
        results.append(
            PairedResult(
                case=case,
                decoder=name,
                shots=case.shots,
                errors_plain=int(wrong_plain.sum()),
                errors_predecoded=int(wrong_predecoded.sum()),
                only_plain=int((wrong_plain & ~wrong_predecoded).sum()),
                only_predecoded=int((wrong_predecoded & ~wrong_plain).sum()),
                density=densities[0],
                residual_density=densities[1],
            )
        )
    return results


def _wrong(decoder: sinter.CompiledDecoder, packed: np.ndarray, truth: np.ndarray) -> np.ndarray:
    predicted = decoder.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
    return (predicted != truth).any(axis=1)
