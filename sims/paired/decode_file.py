"""Decoding a file of shots in chunks: predictions to a file, errors counted where observables are known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import sinter
from scipy.special import expit

from global_decoders import decode_with_gap, numbered_after
from qec import ShotFileError, ShotFormat, write_shots
from sims.paired.gap_file import gap_file
from sims.shot_files.source import Chunk


@dataclass(frozen=True)
class DecodeCounts:
    """Counts over shots; the errors cover the `judged` ones, whose observables are known.

    `nothing_wrong` counts errors of predicting no flip, `versus_wrong` those of a second decoder; the
    `only_*` counts are the shots on which exactly one of the two is wrong. `expected_wrong` is how many of
    all shots are wrong if the gaps are right, which were asked for.
    """

    shots: int = 0
    judged: int = 0
    wrong: int = 0
    nothing_wrong: int = 0
    only_this_wrong_of_nothing: int = 0
    only_nothing_wrong: int = 0
    versus_wrong: int = 0
    only_this_wrong_of_versus: int = 0
    only_versus_wrong: int = 0
    expected_wrong: float = 0.0

    def __add__(self, other: DecodeCounts) -> DecodeCounts:
        return DecodeCounts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def decode_file(
    chunks: Iterable[Chunk],
    decoder: sinter.CompiledDecoder,
    *,
    num_observables: int,
    versus: sinter.CompiledDecoder | None = None,
    out: Path | None = None,
    out_format: ShotFormat = "01",
    confidence: Path | None = None,
    on_chunk: Callable[[DecodeCounts], None] = lambda counts: None,
) -> DecodeCounts:
    """Decode all chunks; predictions go to `out`, gaps to `confidence`: files that appear when complete.

    `on_chunk` is given the counts so far. Raises `ShotFileError` for files that do not fit or hold
    no shots, `NoGapError` for gaps of a decoder that has none.
    """
    counts = DecodeCounts()
    with ExitStack() as files:
        write_gaps = None
        if confidence is not None:
            write_gaps = files.enter_context(gap_file(confidence, num_observables=num_observables))

        def predictions() -> Iterator[np.ndarray]:
            nonlocal counts
            for detections, observed in chunks:
                expected_wrong, other = 0.0, None
                with numbered_after(counts.shots):
                    if write_gaps is None:
                        predicted = decoder.decode_shots_bit_packed(
                            bit_packed_detection_event_data=detections
                        )
                    else:
                        predicted, gap = found = decode_with_gap(decoder, detections)
                        write_gaps(gap)
                        expected_wrong = float(expit(-found.of_shots.astype(np.float64)).sum())
                    if versus is not None and observed is not None:
                        other = versus.decode_shots_bit_packed(bit_packed_detection_event_data=detections)
                counts += replace(_judge(predicted, observed, other), expected_wrong=expected_wrong)
                on_chunk(counts)
                yield predicted
            if counts.shots == 0:
                raise ShotFileError("the shot file is empty; give one with at least one shot")

        if out is None:
            for _ in predictions():
                pass
        else:
            out.parent.mkdir(parents=True, exist_ok=True)
            write_shots(out, predictions(), format=out_format, num_observables=num_observables)
    return counts


def _judge(predicted: np.ndarray, observed: np.ndarray | None, other: np.ndarray | None) -> DecodeCounts:
    if observed is None:
        return DecodeCounts(shots=len(predicted))
    wrong = (predicted != observed).any(axis=1)
    nothing_wrong = observed.any(axis=1)
    versus_wrong = wrong if other is None else (other != observed).any(axis=1)
    return DecodeCounts(
        shots=len(predicted),
        judged=len(predicted),
        wrong=int(wrong.sum()),
        nothing_wrong=int(nothing_wrong.sum()),
        only_this_wrong_of_nothing=int((wrong & ~nothing_wrong).sum()),
        only_nothing_wrong=int((nothing_wrong & ~wrong).sum()),
        versus_wrong=int(versus_wrong.sum()),
        only_this_wrong_of_versus=int((wrong & ~versus_wrong).sum()),
        only_versus_wrong=int((versus_wrong & ~wrong).sum()),
    )
