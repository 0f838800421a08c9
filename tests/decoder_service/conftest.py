"""Measured shots and streams of them, shared by the tests of StreamDecoder."""

import dataclasses
import itertools

import numpy as np
import pytest
import stim

import qec
from decoder_service.streaming.commits import Commit, Result
from decoder_service.streaming.stream_decoder import StreamDecoder
from global_decoders.windows import WindowedDecoder


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Measured shots of one circuit and the detectors in them, unpacked."""

    circuit: stim.Circuit
    dem: stim.DetectorErrorModel
    measurements: np.ndarray
    detections: np.ndarray
    flips: np.ndarray


class Kit:
    """Makers of experiments and of their answers."""

    @staticmethod
    def circuit(rounds: int, *, p: float = 0.008, distance: int = 3, reset: bool = True) -> stim.Circuit:
        noise = qec.depolarizing(p)
        return qec.memory_circuit(distance=distance, rounds=rounds, basis="x", noise=noise, reset=reset)

    @staticmethod
    def dem(circuit: stim.Circuit) -> stim.DetectorErrorModel:
        return circuit.detector_error_model(decompose_errors=True, approximate_disjoint_errors=True)

    @staticmethod
    def experiment(
        rounds: int, *, shots: int, p: float = 0.008, distance: int = 3, reset: bool = True
    ) -> Experiment:
        circuit = Kit.circuit(rounds, p=p, distance=distance, reset=reset)
        measurements = circuit.compile_sampler(seed=rounds).sample(shots)
        detections, flips = circuit.compile_m2d_converter().convert(
            measurements=measurements, separate_observables=True
        )
        return Experiment(circuit, Kit.dem(circuit), measurements, detections, flips)

    @staticmethod
    def stream(
        decoder: StreamDecoder,
        bits: np.ndarray,
        rounds: int,
        *,
        shot: int = 0,
        erased: frozenset[int] = frozenset(),
    ) -> tuple[Result, list[Commit]]:
        """Pushes the bits of one shot, round by round."""
        rows, final = Kit.rows(decoder, bits, rounds)
        decoder.open(shot)
        commits: list[Commit] = []
        for r, row in enumerate(rows):
            lost = r in erased
            commits += decoder.push(r, None if lost else row, erased=lost)
        return decoder.finish(final), commits

    @staticmethod
    def rows(decoder: StreamDecoder, bits: np.ndarray, rounds: int) -> tuple[list[np.ndarray], np.ndarray]:
        """The bits of one shot by round, and those of its end."""
        edges = [0, *itertools.accumulate(decoder.width(r) for r in range(rounds))]
        return [bits[start:stop] for start, stop in itertools.pairwise(edges)], bits[edges[-1] :]

    @staticmethod
    def whole(dem: stim.DetectorErrorModel, detections: np.ndarray, windowed: WindowedDecoder) -> np.ndarray:
        return windowed.compile_decoder_for_dem(dem=dem).decode_shots_bit_packed(
            bit_packed_detection_event_data=np.packbits(detections, axis=1, bitorder="little")
        )


@pytest.fixture(scope="session")
def kit() -> type[Kit]:
    return Kit
