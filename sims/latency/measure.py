"""Time of every decoding stage on the same shots, with and without the pre-decoder, interleaved."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import stim

WARM_UP_SHOTS = 20
DEFAULT_BATCH_SHOTS = 256
"""Of decoders that have no batch of their own."""
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

    The limit is for each decoder, of all of them together. `batch_shots` None leaves it to the decoders,
    whose own fits the cache.
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


Sample = tuple[tuple[int, ...], np.ndarray]
"""Nanoseconds of every stage, the total last, and predictions."""


@dataclass(frozen=True)
class Contender:
    """A decoder to be timed: its name, its stages, and one timed call on bit-packed shots."""

    name: str
    stages: tuple[str, ...]
    run: Callable[[np.ndarray], Sample]


def contenders(name: str, compiled: Any) -> list[Contender]:
    """What there is to time of a compiled decoder called `name`.

    One with a pre-decoder (`propose`, `apply`, `global_decoder`) gives its global decoder alone, and itself
    by stages; any other gives itself.
    """
    plain_name = name.removeprefix("predecoder+")
    if not hasattr(compiled, "propose"):  # without a network, or one that the experiment is too short for
        return [Contender(plain_name, STAGES[3:], lambda chunk: _time_whole(compiled, chunk))]
    plain = compiled.global_decoder
    return [
        Contender(plain_name, STAGES[3:], lambda chunk: _time_whole(plain, chunk)),
        Contender(name, STAGES, lambda chunk: _time_predecoded(compiled, chunk)),
    ]


def measure(
    circuit: stim.Circuit, all_contenders: Sequence[Contender], *, plan: LatencyPlan, batch_shots: int
) -> list[DecoderLatency]:
    """Latency of every contender, in their order.

    All of them decode every shot, one right after the other and in an order that rotates, so that whatever
    else the machine does hits all alike. Warm: graphs and kernels exist before. Python's garbage collector
    rests meanwhile: a full collection visits all of torch's objects (0.1 s and more) and would be the
    maximum of whatever it fell into.

    Args:
        batch_shots: shots in a batch where the plan leaves it open.
    """
    batch = plan.batch_shots or batch_shots
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
        for contender in all_contenders:
            contender.run(chunk)
    seconds = plan.seconds * len(all_contenders)
    with _no_garbage_collection():
        single = _run(all_contenders, detections[: plan.single_shots], size=1, seconds=seconds)
        batched = _run(all_contenders, detections[: batches * batch], size=batch, seconds=seconds)
    results = []
    for index, contender in enumerate(all_contenders):
        predictions = batched[index].predictions
        wrong = (predictions != observables[: len(predictions)]).any(axis=1)
        times = tuple(
            StageTimes(mode, size, contender.stages, runs[index].ns)
            for mode, size, runs in (("single", 1, single), ("batched", batch, batched))
        )
        results.append(
            DecoderLatency(contender.name, (times[0], times[1]), len(predictions), int(wrong.sum()))
        )
    return results


@dataclass(frozen=True)
class _Run:
    """One contender's times, int64 (samples, stages), and predictions."""

    ns: np.ndarray
    predictions: np.ndarray


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


def _run(
    all_contenders: Sequence[Contender], detections: np.ndarray, *, size: int, seconds: float
) -> list[_Run]:
    deadline = time.monotonic() + seconds
    samples: list[list[Sample]] = [[] for _ in all_contenders]
    for index, chunk in enumerate(_chunks(detections, size)):
        if index and time.monotonic() > deadline:
            break
        first = index % len(all_contenders)
        for k in (*range(first, len(all_contenders)), *range(first)):
            samples[k].append(all_contenders[k].run(chunk))
    return [
        _Run(
            np.array([nanoseconds for nanoseconds, _ in of], np.int64),
            np.concatenate([predictions for _, predictions in of]),
        )
        for of in samples
    ]


def _chunks(detections: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(detections), size):
        yield detections[start : start + size]


def _time_whole(compiled: Any, chunk: np.ndarray) -> Sample:
    start = time.perf_counter_ns()
    predictions = compiled.decode_shots_bit_packed(bit_packed_detection_event_data=chunk)
    return (time.perf_counter_ns() - start,), predictions


def _time_predecoded(compiled: Any, chunk: np.ndarray) -> Sample:
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
