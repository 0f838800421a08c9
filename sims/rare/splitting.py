"""Splitting: from noise at which failures are common to the noise that was asked for, step by step.

P(t), the probability of a failure at tilt t (`sims.rare.noise`), is estimated by direct sampling at a first
tilt; the failures found are a sample of that noise given a failure. From one tilt to the next lower one,
P falls by the mean of exp((t' - t) w) over that sample, w faults a shot, times a known factor; the sample
becomes one of the lower tilt by choosing shots in proportion to these weights, and Markov chains that begin
at them (`sims.rare.moves`). This is a sequential Monte Carlo sampler (Del Moral, Doucet & Jasra, JRSS B 68,
411, 2006), with all states of the chains kept ("waste-free": Dau & Chopin, JRSS B 84, 114, 2022): for a
ladder of tilts that was fixed before, the product of all factors is unbiased, however badly the chains mix,
which costs precision only. What the precision is, independent repetitions say.

Splitting by Markov chains over faults was brought to quantum error correction by Bravyi & Vargo,
Phys. Rev. A 88, 062308 (2013), with ratios of neighbouring error rates from chains at each of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sims.rare.failures import Failures
from sims.rare.moves import propose
from sims.rare.noise import TiltedNoise

__all__ = ["Effort", "Ladder", "Repetition", "find_ladder", "repeat"]

_OFTEN = 0.03
"""The first tilt is the least of those tried at which so many shots fail: direct sampling is as good as
chains down to about there."""
_TRIED_SHOTS = 1024
_DIRECT = 4
"""Shots sampled directly at the first tilt, for each state at one of the others."""
_TILT_STEP = 0.25
_MOST_TILT = 30.0
_WORTH = 0.6
"""Effective share of a sample after reweighting, (sum v)^2 / (n sum v^2), that the next tilt is to leave."""

Report = Callable[[str], None]


@dataclass(frozen=True)
class Effort:
    """Size of one repetition.

    Attributes:
        chains: decoded in one batch.
        steps: states of each chain at every tilt, its first one included; direct shots come in as many
            batches, four times over.
    """

    chains: int = 256
    steps: int = 16

    def __post_init__(self) -> None:
        for name, least in (("chains", 1), ("steps", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {least}")

    @property
    def states(self) -> int:
        """Of all chains at a tilt."""
        return self.chains * self.steps

    @property
    def direct_shots(self) -> int:
        """At the first tilt."""
        return _DIRECT * self.states


@dataclass(frozen=True)
class Ladder:
    """Tilts, falling, and 0 last; the first is sampled directly."""

    tilts: tuple[float, ...]

    def __post_init__(self) -> None:
        falls = all(a > b for a, b in zip(self.tilts, self.tilts[1:], strict=False))
        if not (self.tilts and self.tilts[-1] == 0 and falls):
            raise ValueError(f"tilts {self.tilts} do not fall to 0")


@dataclass(frozen=True)
class Repetition:
    """What one independent run down a ladder found.

    Attributes:
        log_rate: natural logarithm of the logical error rate that it estimates; -inf where nothing failed.
        decoded: shots.
        accepted: share of the proposals that were accepted, at each tilt with chains.
        origins: of the states at the last tilt with chains, how many different direct shots they come from.
    """

    log_rate: float
    decoded: int
    accepted: tuple[float, ...]
    origins: int


@dataclass(frozen=True, eq=False)
class _Sample:
    """Shots that fail, as keys, each from the direct shot `origin`."""

    keys: np.ndarray
    faults: np.ndarray
    origin: np.ndarray


def find_ladder(
    failures: Failures, effort: Effort, *, rng: np.random.Generator, report: Report = lambda text: None
) -> tuple[Ladder, Repetition]:
    """A ladder by a first run, which chooses each tilt by the sample that it has; and what this run found.

    Its estimate is not to be used: where the tilts depend on the sample, the estimate is not unbiased.

    Raises:
        ValueError: nothing fails, however strong the noise.
    """
    first = _first_tilt(failures, rng, report)
    tilts = [first]

    def lower(tilt: float, faults: np.ndarray) -> float:
        tilts.append(max(0.0, tilt - _step(faults, most=tilt)))
        return tilts[-1]

    found = _descend(failures, effort, first, lower, rng, report)
    return Ladder(tuple(tilts)), found


def repeat(
    failures: Failures,
    effort: Effort,
    ladder: Ladder,
    *,
    rng: np.random.Generator,
    report: Report = lambda text: None,
) -> Repetition:
    """One independent, unbiased estimate."""
    after = dict(zip(ladder.tilts, ladder.tilts[1:], strict=False))
    return _descend(failures, effort, ladder.tilts[0], lambda tilt, _: after[tilt], rng, report)


def _descend(
    failures: Failures,
    effort: Effort,
    tilt: float,
    lower: Callable[[float, np.ndarray], float],
    rng: np.random.Generator,
    report: Report,
) -> Repetition:
    decoded, noise = failures.decoded, failures.noise
    sample = _direct(failures, effort, tilt, rng)
    failed = len(sample.faults)
    accepted: list[float] = []
    if not failed:
        return Repetition(-math.inf, failures.decoded - decoded, (), 0)
    log_rate = math.log(failed / effort.direct_shots) + _log_total(noise, tilt)
    report(f"{failed} of {effort.direct_shots} shots fail with {noise.mean_faults(tilt):.1f} faults each")
    while tilt > 0:
        low = lower(tilt, sample.faults)
        weights = np.exp((low - tilt) * (sample.faults - sample.faults.min()))
        log_rate += math.log(weights.mean()) + (low - tilt) * float(sample.faults.min())
        tilt = low
        if tilt > 0:
            start = _choose(noise, sample, weights, effort.chains, rng)
            sample, share = _walk(failures, start, effort, tilt, rng)
            accepted.append(share)
        so_far = math.exp(log_rate - _log_total(noise, tilt))
        report(f"{so_far:.2e} with {noise.mean_faults(tilt):.1f} faults a shot")
    log_rate -= _log_total(noise, 0.0)
    origins = len(np.unique(sample.origin))
    return Repetition(log_rate, failures.decoded - decoded, tuple(accepted), origins)


def _log_total(noise: TiltedNoise, tilt: float) -> float:
    """Logarithm of what probabilities at a tilt are divided by: sum ln(1 + odds exp(tilt))."""
    return float(np.log1p(noise.odds * math.exp(tilt)).sum())


def _first_tilt(failures: Failures, rng: np.random.Generator, report: Report) -> float:
    tilt = 0.0
    while tilt <= _MOST_TILT:
        keys = failures.noise.sample(tilt, shots=_TRIED_SHOTS, rng=rng)
        failed = int(failures.fail(keys, shots=_TRIED_SHOTS).sum())
        report(
            f"{failed} of {_TRIED_SHOTS} shots fail with {failures.noise.mean_faults(tilt):.1f} faults a shot"
        )
        if failed >= _OFTEN * _TRIED_SHOTS:
            return tilt
        tilt += _TILT_STEP if failed else 2 * _TILT_STEP
    raise ValueError(
        f"fewer than {_OFTEN:.0%} of the shots fail however strong the noise; sample this task directly"
    )


def _step(faults: np.ndarray, *, most: float) -> float:
    """How far the tilt may fall until the weights make the sample worth `_WORTH` of its size."""
    excess = faults - faults.min()

    def worth(step: float) -> float:
        weights = np.exp(-step * excess)
        return float(weights.sum() ** 2 / (weights**2).sum() / len(weights))

    if worth(most) >= _WORTH:
        return most
    low, high = 0.0, most
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if worth(middle) >= _WORTH else (low, middle)
    return low


def _direct(failures: Failures, effort: Effort, tilt: float, rng: np.random.Generator) -> _Sample:
    """The failures among direct shots."""
    noise, shots = failures.noise, effort.chains
    parts = []
    for _ in range(_DIRECT * effort.steps):
        keys = noise.sample(tilt, shots=shots, rng=rng)
        failed = np.flatnonzero(failures.fail(keys, shots=shots))
        parts.append((noise.take(keys, failed), len(failed)))
    keys = _joined(parts, noise.num_mechanisms)
    count = sum(shots for _, shots in parts)
    return _Sample(keys, noise.faults_of_each(keys, shots=count), np.arange(count))


def _choose(
    noise: TiltedNoise, sample: _Sample, weights: np.ndarray, count: int, rng: np.random.Generator
) -> _Sample:
    """Systematic resampling: `count` shots, each on average as often as its share of the weights says."""
    shares = np.cumsum(weights)
    marks = (np.arange(count) + rng.random()) / count * shares[-1]
    chosen = np.minimum(np.searchsorted(shares, marks, side="right"), len(weights) - 1)
    return _Sample(noise.take(sample.keys, chosen), sample.faults[chosen], sample.origin[chosen])


def _walk(
    failures: Failures, start: _Sample, effort: Effort, tilt: float, rng: np.random.Generator
) -> tuple[_Sample, float]:
    """All states of chains that begin at `start`, and the share of proposals that were accepted."""
    noise, shots = failures.noise, effort.chains
    n = noise.num_mechanisms
    keys, accepted = start.keys, 0
    parts = [(keys, shots)]
    for _ in range(effort.steps - 1):
        proposed = propose(noise, keys, tilt=tilt, shots=shots, rng=rng)
        fails = failures.fail(proposed, shots=shots)
        keys = np.sort(np.concatenate([proposed[fails[proposed // n]], keys[~fails[keys // n]]]))
        accepted += int(fails.sum())
        parts.append((keys, shots))
    keys = _joined(parts, n)
    sample = _Sample(
        keys, noise.faults_of_each(keys, shots=effort.states), np.tile(start.origin, effort.steps)
    )
    return sample, accepted / (effort.states - shots)


def _joined(parts: list[tuple[np.ndarray, int]], mechanisms: int) -> np.ndarray:
    """Keys of batches, each with its number of shots, one after the other."""
    first = np.cumsum([0, *(shots for _, shots in parts)])[:-1]
    return np.concatenate([keys + at * mechanisms for (keys, _), at in zip(parts, first, strict=True)])
