"""Errors of streams against those of the batch decoder of the same name on the same, whole shots."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import sinter
import stim

from decoder_service.streaming import StreamDecoder
from scripts.benchmarks.streaming.targets import Setup
from scripts.benchmarks.windows.table import ratio_and_bound
from sims.decoders import build_decoder

_BATCH = 2048


def measure_ler(setup: Setup, *, rounds: int, p: float, errors: int, seed: int = 40) -> dict[str, Any]:
    """Paired counts until the batch decoder has so many errors.

    Args:
        rounds: of a shot, before the final one.
        p: physical error rate.
    """
    circuit = setup.circuit(rounds=rounds, p=p)
    stream = setup.options.build(circuit)
    stream.warm(rounds=rounds)
    whole = _batch_decoder(setup, circuit)
    shots = wrong_whole = only_stream = only_whole = 0
    for batch in itertools.count():
        measured = circuit.compile_sampler(seed=seed + batch).sample(_BATCH)
        detections, truth = circuit.compile_m2d_converter().convert(
            measurements=measured, separate_observables=True, bit_packed=True
        )
        predictions = whole.decode_shots_bit_packed(bit_packed_detection_event_data=detections)
        of_batch = (predictions != truth).any(axis=1)
        of_stream = (_stream_frames(stream, measured.astype(np.uint8), rounds) != truth).any(axis=1)
        shots += len(measured)
        wrong_whole += int(of_batch.sum())
        only_stream += int((of_stream & ~of_batch).sum())
        only_whole += int((of_batch & ~of_stream).sum())
        if wrong_whole >= errors:
            break
    ratio, bound = ratio_and_bound(errors=wrong_whole, only_windows=only_stream, only_whole=only_whole)
    return {
        "name": setup.name,
        "p": p,
        "rounds": rounds,
        "shots": shots,
        "errors_whole": wrong_whole,
        "only_stream_wrong": only_stream,
        "only_whole_wrong": only_whole,
        "ratio": round(ratio, 4),
        "upper_95": round(bound, 4),
    }


def _batch_decoder(setup: Setup, circuit: stim.Circuit) -> sinter.CompiledDecoder:
    """The decoder of the same name and weights for whole shots."""
    weights = setup.stream.predecoder or "default"
    dem = circuit.detector_error_model(decompose_errors=True)
    return build_decoder(setup.stream.decoder, weights=weights).compiled(dem)


def _stream_frames(stream: StreamDecoder, measured: np.ndarray, rounds: int) -> np.ndarray:
    """uint8 (shots, bytes): what the stream says at the end of each shot."""
    widths = [*(stream.width(round) for round in range(rounds)), stream.width(rounds, final=True)]
    edges = np.cumsum([0, *widths])
    packed = np.zeros((rounds, len(measured), -(-max(widths[:-1]) // 8)), dtype=np.uint8)
    for row in range(rounds):
        bits = np.packbits(measured[:, edges[row] : edges[row + 1]], axis=1, bitorder="little")
        packed[row, :, : bits.shape[1]] = bits
    frames = []
    for number, shot in enumerate(measured):
        stream.open(number)
        stream.push_rounds(0, packed[:, number])
        frames.append(np.frombuffer(stream.finish(shot[edges[rounds] :]).frame, dtype=np.uint8))
    return np.stack(frames)
