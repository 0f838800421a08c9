"""Time of every decoding stage on the same shots, with and without the pre-decoder, interleaved."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import stim

WARM_UP_SHOTS = 20
STAGES = ("predecoder", "residual", "global", "total")
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}


@dataclass(frozen=True)
class StageTimes:
    """Times of one decoder in one mode.

    `ns` is int64 of shape (samples, stages), its columns named by `stages`, the last one the total;
    a sample is one shot ('single') or one batch of `batch_shots` ('batched').
    """

    mode: str
    batch_shots: int
    stages: tuple[str, ...]
    ns: np.ndarray

    def us_per_round(self, rounds: int) -> dict[str, np.ndarray]:
        """Microseconds per shot and round of every sample, by stage."""
        scale = 1e-3 / (self.batch_shots * rounds)
        return {stage: self.ns[:, column] * scale for column, stage in enumerate(self.stages)}


@dataclass(frozen=True)
class DecoderLatency:
    """One decoder on one circuit: its times in both modes and its errors on the batched shots."""

    decoder: str
    times: tuple[StageTimes, StageTimes]
    shots: int
    errors: int


@dataclass(frozen=True)
class LatencyPlan:
    """How much to measure: shots one at a time, shots in batches, and a limit in seconds for each.

    `batch_shots` None takes the compiled decoder's own, which fits the cache.
    """

    single_shots: int
    batched_shots: int
    batch_shots: int | None
    seconds: float
    seed: int

    def __post_init__(self) -> None:
        for name in ("single_shots", "batched_shots", "batch_shots"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        if not self.seconds > 0:
            raise ValueError(f"seconds is {self.seconds}; it must be positive")


def measure(
    circuit: stim.Circuit, compiled: Any, *, name: str, plan: LatencyPlan
) -> tuple[DecoderLatency, DecoderLatency]:
    """Latency of `compiled`'s global decoder alone and behind its pre-decoder, in that order.

    `compiled` is a compiled pre-decoded decoder (`propose`, `apply`, `global_decoder`,
    `batch_shots`), `name` that of its global decoder. Both decode every shot, one right after the
    other and in alternating order, so that whatever else the machine does hits both alike. Warm:
    graphs and kernels exist before. Python's garbage collector rests meanwhile: a full collection
    visits all of torch's objects (0.1 s and more) and would be the maximum of whatever it fell into.
    """
    batch = plan.batch_shots or compiled.batch_shots
    batches = -(-plan.batched_shots // batch)
    sampler = circuit.compile_detector_sampler(seed=plan.seed)
    detections, observables = sampler.sample(
        max(batches * batch, plan.single_shots), separate_observables=True, bit_packed=True
    )
    warm_up = detections[:WARM_UP_SHOTS]
    for chunk in (
        *_chunks(warm_up, 1),
        *_chunks(np.resize(detections, (2 * batch, detections.shape[1])), batch),
    ):
        _time_both(compiled, chunk, predecoded_first=False)
    with _no_garbage_collection():
        single = _run(compiled, detections[: plan.single_shots], size=1, seconds=plan.seconds)
        batched = _run(compiled, detections[: batches * batch], size=batch, seconds=plan.seconds)
    results = []
    for index, (decoder, stages) in enumerate(((name, STAGES[2:]), (f"predecoder+{name}", STAGES))):
        predictions = batched.predictions[index]
        wrong = (predictions != observables[: len(predictions)]).any(axis=1)
        times = tuple(
            StageTimes(mode, size, stages, run.ns[index])
            for mode, size, run in (("single", 1, single), ("batched", batch, batched))
        )
        results.append(DecoderLatency(decoder, (times[0], times[1]), len(predictions), int(wrong.sum())))
    return results[0], results[1]


@dataclass(frozen=True)
class _Run:
    """Times (samples, stages) and predictions of the plain (0) and the pre-decoded (1) decoder."""

    ns: tuple[np.ndarray, np.ndarray]
    predictions: tuple[np.ndarray, np.ndarray]


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _run(compiled: Any, detections: np.ndarray, *, size: int, seconds: float) -> _Run:
    deadline = time.monotonic() + seconds
    samples = []
    for index, chunk in enumerate(_chunks(detections, size)):
        if samples and time.monotonic() > deadline:
            break
        samples.append(_time_both(compiled, chunk, predecoded_first=bool(index % 2)))
    plain, predecoded = zip(*samples, strict=True)
    return _Run(
        ns=(np.array([s[0] for s in plain], np.int64), np.array([s[0] for s in predecoded], np.int64)),
        predictions=(np.concatenate([s[1] for s in plain]), np.concatenate([s[1] for s in predecoded])),
    )


def _chunks(detections: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(detections), size):
        yield detections[start : start + size]


_Sample = tuple[tuple[int, ...], np.ndarray]


def _time_both(compiled: Any, chunk: np.ndarray, *, predecoded_first: bool) -> tuple[_Sample, _Sample]:
    if predecoded_first:
        predecoded = _time_predecoded(compiled, chunk)
        return _time_plain(compiled, chunk), predecoded
    return _time_plain(compiled, chunk), _time_predecoded(compiled, chunk)


def _time_plain(compiled: Any, chunk: np.ndarray) -> _Sample:
    start = time.perf_counter_ns()
    predictions = compiled.global_decoder.decode_shots_bit_packed(bit_packed_detection_event_data=chunk)
    spent = time.perf_counter_ns() - start
    return (spent, spent), predictions


def _time_predecoded(compiled: Any, chunk: np.ndarray) -> _Sample:
    start = time.perf_counter_ns()
    moves = compiled.propose(chunk)
    proposed = time.perf_counter_ns()
    residual, flips = compiled.apply(chunk, moves)
    applied = time.perf_counter_ns()
    predictions = flips ^ compiled.global_decoder.decode_shots_bit_packed(
        bit_packed_detection_event_data=residual
    )
    end = time.perf_counter_ns()
    return (proposed - start, applied - proposed, end - applied, end - start), predictions
