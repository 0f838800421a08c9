"""A sinter sampler that times the decoder and counts detection events before and after pre-decoding.

sinter's own sampler reports one number of seconds, sampling included, and knows nothing of the
pre-decoder inside a decoder; this one takes the same shots through the same calls and keeps the
parts apart in `custom_counts`.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import sinter
import stim

from global_decoders import decode_with_gap
from sims.sweeps.kept import GapCounts
from sims.sweeps.workers import follow_parent

DETECTORS = "detectors"
DETECTION_EVENTS = "detection_events"
RESIDUAL_EVENTS = "residual_events"
SAMPLE_NS = "sample_ns"
PREDECODE_NS = "predecode_ns"
DECODE_NS = "decode_ns"

_BITS_SET = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)


class MeasuredSampler(sinter.Sampler):
    """Samples with Stim and decodes with `decoder`; picklable when the decoder is.

    Each `AnonTaskStats` has `seconds` spent decoding (pre-decoder included, sampling not) and the
    `custom_counts` named at the top of this module; `residual_events` and `predecode_ns` only where
    the compiled decoder has a pre-decoder (`decode_to_residual` and `global_decoder`). `prepare_worker`
    can be pickled and is called in a worker process before anything else there. `with_gaps` also counts
    shots by their gap (`GapCounts`), which takes time that is the decoder's.
    """

    def __init__(
        self,
        decoder: sinter.Decoder,
        prepare_worker: Callable[[], None] | None = None,
        *,
        with_gaps: bool = False,
    ) -> None:
        self.decoder = decoder
        self.prepare_worker = prepare_worker
        self.with_gaps = with_gaps

    def compiled_sampler_for_task(self, task: sinter.Task) -> sinter.CompiledSampler:
        return CompiledMeasuredSampler(self.decoder, task, with_gaps=self.with_gaps)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        follow_parent()
        if self.prepare_worker is not None:
            self.prepare_worker()


class CompiledMeasuredSampler(sinter.CompiledSampler):
    """See `MeasuredSampler`. Shots come from operating-system entropy, or in blocks with seeds of their own.

    One seed for all would make a resumed sweep draw the shots again that its CSV already counts.
    """

    def __init__(self, decoder: sinter.Decoder, task: sinter.Task, *, with_gaps: bool = False) -> None:
        if task.circuit is None or task.detector_error_model is None:
            raise ValueError("a task needs its circuit and its detector error model")
        if task.postselection_mask is not None or task.postselected_observables_mask is not None:
            raise ValueError("this sampler keeps every shot; use sinter's own for a task with postselection")
        self.compiled: Any = decoder.compile_decoder_for_dem(dem=task.detector_error_model)
        self.with_gaps = with_gaps
        self.has_predecoder = hasattr(self.compiled, "decode_to_residual")
        self.circuit = task.circuit
        self.shots_of = task.circuit.compile_detector_sampler()
        self.num_detectors = task.circuit.num_detectors
        # The first decode builds PyMatching's graph and the network's kernels: not part of any rate.
        detections, _ = self.shots_of.sample(1, separate_observables=True, bit_packed=True)
        self._decode(detections, collections.Counter())

    def sample(self, suggested_shots: int) -> sinter.AnonTaskStats:
        return self._sample(suggested_shots, lambda: self.shots_of)

    def sample_seeded(self, shots: int, *, seed: int) -> sinter.AnonTaskStats:
        """The shots of `seed`, the same at every call."""
        return self._sample(shots, lambda: self.circuit.compile_detector_sampler(seed=seed))

    def _sample(
        self, suggested_shots: int, sampler: Callable[[], stim.CompiledDetectorSampler]
    ) -> sinter.AnonTaskStats:
        counts: collections.Counter[str] = collections.Counter()
        start = time.perf_counter_ns()
        detections, observables = sampler().sample(
            suggested_shots, separate_observables=True, bit_packed=True
        )
        counts[SAMPLE_NS] = time.perf_counter_ns() - start
        counts[DETECTORS] = self.num_detectors * suggested_shots
        counts[DETECTION_EVENTS] = count_bits(detections)
        predictions, gap = self._decode(detections, counts)
        if predictions.shape != observables.shape:
            raise ValueError(
                f"the decoder returned predictions of shape {predictions.shape}, not {observables.shape}"
            )
        wrong = (predictions != observables).any(axis=1)
        if gap is not None:
            counts += GapCounts.of(gap, wrong).custom_counts()
        return sinter.AnonTaskStats(
            shots=suggested_shots,
            errors=int(np.count_nonzero(wrong)),
            seconds=(counts[PREDECODE_NS] + counts[DECODE_NS]) / 1e9,
            custom_counts=counts,
        )

    def _decode(
        self, detections: np.ndarray, counts: collections.Counter[str]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Predictions, and the gap of every shot if it is asked for."""
        start = time.perf_counter_ns()
        if not self.has_predecoder:
            predictions, gap = self._predict(self.compiled, detections)
            counts[DECODE_NS] = time.perf_counter_ns() - start
            return predictions, gap
        residual, flips = self.compiled.decode_to_residual(detections)
        predecoded = time.perf_counter_ns()
        predictions, gap = self._predict(self.compiled.global_decoder, residual)
        counts[DECODE_NS] = time.perf_counter_ns() - predecoded
        counts[PREDECODE_NS] = predecoded - start
        counts[RESIDUAL_EVENTS] = count_bits(residual)
        return flips ^ predictions, gap

    def _predict(
        self, compiled: sinter.CompiledDecoder, packed: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        if not self.with_gaps:
            return compiled.decode_shots_bit_packed(bit_packed_detection_event_data=packed), None
        found = decode_with_gap(compiled, packed)
        return found.predictions, found.of_shots


def count_bits(packed: np.ndarray) -> int:
    """Number of set bits of a uint8 array."""
    return int(_BITS_SET[packed].sum(dtype=np.int64))
