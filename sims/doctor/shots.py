"""Whether shots fit a detector error model: densities, chi^2, edges that are missing, and error rates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import stim

from global_decoders import compile_normal_form, make_decoder
from qec import DemTables, NormalForm, normal_form
from sims.doctor.finding import Finding, Level
from sims.doctor.model import listed
from sims.shot_files.source import Chunk

__all__ = ["examine_shots"]

MOST_SHOTS = 50_000
_MOST_DETECTORS = 2_500
"""Pairs of so many detectors take a matrix of 50 MB."""
_FAR = 6.0
"""z-score beyond which a detector, or a pair of them, does not fit: by chance one in a billion."""
_FEW = 8
"""Coincidences beyond that before a pair counts."""
_SEED = 20_260_711
_SECTION = "shots"


@dataclass(frozen=True)
class Evidence:
    """What shots say against a model.

    Attributes:
        seen, expected: float64 `(D,)`: how often detectors fire, and how often they should.
        z: float64 `(D,)`: their differences, in standard deviations of the shots' number.
        never: detectors that fire and cannot.
        missing: pairs of detectors that fire together and have no mechanism in common, most certain first.
        pairs: whether pairs were looked at.
    """

    shots: int
    seen: np.ndarray
    expected: np.ndarray
    z: np.ndarray
    never: np.ndarray
    missing: np.ndarray
    pairs: bool

    @property
    def ratio(self) -> float:
        """Detection events over those that the model expects."""
        return float(self.seen.sum() / max(self.expected.sum(), 1e-300))

    @property
    def chi_squared(self) -> float:
        """Mean of z^2 over detectors that can fire: about 1 where the model fits."""
        possible = self.expected > 0
        return float(np.mean(self.z[possible] ** 2)) if possible.any() else 0.0

    @property
    def correlation(self) -> float | None:
        """Of seen with expected densities over the detectors; None where the model has them all alike."""
        possible = self.expected > 0
        seen, expected = self.seen[possible], self.expected[possible]
        if len(seen) < 3 or expected.std() < 0.02 * expected.mean() or seen.std() == 0:
            return None
        return float(np.corrcoef(seen, expected)[0, 1])


@dataclass(frozen=True)
class ErrorRates:
    """Errors of PyMatching and of predicting nothing, on shots of the file and of the model."""

    judged: int
    wrong: int
    nothing_wrong: int
    model_wrong: int

    @property
    def z(self) -> float:
        """By how many standard deviations the file has more errors than the model's shots."""
        spread = math.sqrt(max(1, self.wrong + self.model_wrong))
        return (self.wrong - self.model_wrong) / spread


def examine_shots(dem: stim.DetectorErrorModel, chunks: Iterable[Chunk]) -> Iterator[Finding]:
    """Findings about the first 50,000 shots; the last one names the likeliest mistake.

    Args:
        dem: that the shots are said to be of.
        chunks: detections and, where known, observables.

    Raises:
        ShotFileError: as reading does.
    """
    normal = normal_form(dem)
    detections, observed = _first_shots(chunks)
    evidence = gather(normal, detections)
    yield from _densities(evidence)
    yield from _pairs(evidence)
    rates = None
    if observed is not None:
        rates = _error_rates(normal, detections, observed)
        yield from _rates(rates)
    yield verdict(evidence, rates)


def _first_shots(chunks: Iterable[Chunk]) -> tuple[np.ndarray, np.ndarray | None]:
    taken: list[Chunk] = []
    shots = 0
    for detections, observed in chunks:
        taken.append((detections, observed))
        shots += len(detections)
        if shots >= MOST_SHOTS:
            break
    if not shots:
        raise ValueError("the shot file is empty; give one with at least one shot")
    observables = [observed for _, observed in taken if observed is not None]
    detections = np.concatenate([d for d, _ in taken])[:MOST_SHOTS]
    return detections, np.concatenate(observables)[:MOST_SHOTS] if observables else None


def gather(normal: NormalForm, packed: np.ndarray) -> Evidence:
    """Compare shots, uint8 `(shots, ceil(D / 8))`, with a model."""
    tables, shots = normal.tables, len(packed)
    uncertain = np.bitwise_xor(packed, normal.detector_flips)
    bits = np.unpackbits(uncertain, axis=1, count=tables.num_detectors, bitorder="little")
    expected = tables.firing_probabilities()
    seen = bits.mean(axis=0)
    spread = np.sqrt(np.maximum(expected * (1 - expected), 1e-12) / shots)
    z = np.where(expected > 0, (seen - expected) / spread, 0.0)
    pairs = tables.num_detectors <= _MOST_DETECTORS
    return Evidence(
        shots=shots,
        seen=seen,
        expected=expected,
        z=z,
        never=np.flatnonzero((expected == 0) & (seen > 0)),
        missing=_missing_edges(tables, bits) if pairs else np.zeros((0, 2), dtype=np.intp),
        pairs=pairs,
    )


def _missing_edges(tables: DemTables, bits: np.ndarray) -> np.ndarray:
    """Pairs without a common mechanism whose events are correlated, int `(n, 2)`.

    Events of such a pair are independent if the model is right: their covariance over its spread, which
    follows from the densities that were seen, is then a z-score.
    """
    shots = len(bits)
    means = bits.mean(axis=0)
    together = sum(
        part.T @ part for part in (bits[k : k + 4096].astype(np.float32) for k in range(0, shots, 4096))
    )
    covariance = np.asarray(together, dtype=np.float64) / shots - np.outer(means, means)
    variance = means * (1 - means)
    z = covariance / np.sqrt(np.maximum(np.outer(variance, variance), 1e-12) / shots)
    joint = tables.detectors.astype(np.int32) @ tables.detectors.astype(np.int32).T
    z[joint.nonzero()] = 0.0
    # Of rare events a few coincidences are many standard deviations, and no evidence.
    by_chance = shots * np.outer(means, means)
    z[np.asarray(together) < by_chance + _FAR * np.sqrt(by_chance) + _FEW] = 0.0
    first, second = np.nonzero(np.triu(z > _FAR, k=1))
    order = np.argsort(-z[first, second])
    return np.stack([first[order], second[order]], axis=1)


def _densities(evidence: Evidence) -> Iterator[Finding]:
    seen, expected = evidence.seen.mean(), evidence.expected.mean()
    yield Finding(
        _SECTION,
        "density",
        f"{seen:.4f} of the detectors fire in {evidence.shots:,} shots; the model says {expected:.4f} "
        f"(ratio {evidence.ratio:.3f})",
        "ok" if abs(evidence.ratio - 1) < 0.1 else "note",
    )
    far = np.argsort(-np.abs(evidence.z))
    far = far[np.abs(evidence.z[far]) > _FAR]
    text = f"chi^2 {evidence.chi_squared:.2f} per detector (about 1 where rates fit)"
    if len(far):
        worst = far[0]
        text += (
            f"; {len(far):,} detectors are off by more than {_FAR:g} standard deviations ({listed(far)}), "
            f"D{worst} fires in {evidence.seen[worst]:.4f} of the shots for {evidence.expected[worst]:.4f}"
        )
    yield Finding(_SECTION, "per detector", text, "note" if len(far) else "ok")
    if len(evidence.never):
        text = f"{len(evidence.never):,} detectors fire that no mechanism flips ({listed(evidence.never)})"
        yield Finding(_SECTION, "impossible", text, "problem")


def _pairs(evidence: Evidence) -> Iterator[Finding]:
    if not evidence.pairs:
        text = f"not looked for: there are more than {_MOST_DETECTORS:,} detectors"
        yield Finding(_SECTION, "missing edges", text, "note")
        return
    if not len(evidence.missing):
        yield Finding(_SECTION, "missing edges", "none: detectors that share no mechanism are independent")
        return
    shown = ", ".join(f"D{a} D{b}" for a, b in evidence.missing[:3])
    more = ", ..." if len(evidence.missing) > 3 else ""
    yield Finding(
        _SECTION,
        "missing edges",
        f"{len(evidence.missing):,} pairs of detectors fire together more often than by chance, and have no "
        f"mechanism in common: {shown}{more}",
        "note",
    )


def _error_rates(normal: NormalForm, detections: np.ndarray, observed: np.ndarray) -> ErrorRates | None:
    """None where PyMatching cannot decode the shots at all."""
    try:
        decoder = compile_normal_form(make_decoder("pymatching"), normal)
        uncertain = np.bitwise_xor(detections, normal.detector_flips)
        predicted = decoder.decode_shots_bit_packed(bit_packed_detection_event_data=uncertain)
    except ValueError:
        return None
    sampled, flips, _ = normal.dem.compile_sampler(seed=_SEED).sample(len(detections), bit_packed=True)
    of_model = decoder.decode_shots_bit_packed(bit_packed_detection_event_data=np.asarray(sampled))
    predicted = np.bitwise_xor(predicted, normal.observable_flips)
    return ErrorRates(
        judged=len(detections),
        wrong=int((predicted != observed).any(axis=1).sum()),
        nothing_wrong=int(np.bitwise_xor(observed, normal.observable_flips).any(axis=1).sum()),
        model_wrong=int((of_model != flips).any(axis=1).sum()),
    )


def _rates(rates: ErrorRates | None) -> Iterator[Finding]:
    if rates is None:
        yield Finding(_SECTION, "LER", "PyMatching cannot decode these shots with this model", "problem")
        return
    yield Finding(
        _SECTION,
        "LER",
        f"pymatching {rates.wrong / rates.judged:.4g}, no decoding {rates.nothing_wrong / rates.judged:.4g}; "
        f"on as many shots of the model pymatching has {rates.model_wrong / rates.judged:.4g}",
        "ok" if abs(rates.z) < 4 else "note",
    )


def verdict(evidence: Evidence, rates: ErrorRates | None) -> Finding:
    """The likeliest mistake, if there is one."""
    mistake = _mistake(evidence, rates)
    if mistake is None:
        return Finding(_SECTION, "verdict", "the shots fit the model")
    return Finding(_SECTION, "verdict", f"likeliest mistake: {mistake[0]}", mistake[1])


def _mistake(evidence: Evidence, rates: ErrorRates | None) -> tuple[str, Level] | None:
    wrong = None if rates is None else rates.wrong / rates.judged
    if 0.4 < evidence.seen.mean() < 0.6 and evidence.expected.mean() < 0.3:
        return (
            "half of all detectors fire, as if these were raw measurements or another format; give "
            "--measurements, or the right --format",
            "problem",
        )
    if len(evidence.never):
        return (
            "detectors fire that cannot: the model is of another circuit or basis, or the file has detectors "
            "in another order",
            "problem",
        )
    correlation = evidence.correlation
    if correlation is not None and correlation < 0.3 and evidence.chi_squared > 20:
        return (
            f"detectors fire as often as others should (correlation {correlation:.2f}): the file has them in "
            "another order, or the model is of another circuit",
            "problem",
        )
    if rates is not None and wrong is not None and rates.z > 4:
        if wrong > 0.5 + 2 / math.sqrt(rates.judged):
            return "most predictions are wrong: the observable's flips are inverted", "problem"
        if wrong > 0.4 and evidence.chi_squared < 5:
            return (
                "detections fit, and predictions are no better than a coin: the labels are of another run, "
                "observable or order",
                "problem",
            )
        if rates.wrong > rates.nothing_wrong:
            return "decoding makes it worse than no decoding: the model is of another circuit", "problem"
    if not 0.8 < evidence.ratio < 1.25:
        more = "more" if evidence.ratio > 1 else "less"
        return (
            f"the noise is {more} than the model's, {evidence.ratio:.2f} times the detection events; "
            "learn it from the shots: qecpipe learn-noise",
            "note",
        )
    if len(evidence.missing):
        return (
            "errors that the model does not have (crosstalk, leakage, edges left out) correlate detectors; "
            "LERs will not fall with distance as the model's do",
            "note",
        )
    if evidence.chi_squared > 3:
        return (
            f"rates differ from place to place (chi^2 {evidence.chi_squared:.1f}); learn them from the "
            "shots: qecpipe learn-noise",
            "note",
        )
    return None
