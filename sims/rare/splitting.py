"""Splitting: from noise at which failures are common to the noise that was asked for, step by step.

P(t), the probability of a failure at tilt t (`sims.rare.noise`), is estimated by direct sampling at a first
tilt; the failures found are a sample of that noise given a failure. To step to a lower tilt u, faults are
taken from each shot x as weaker noise lacks them, which gives y. Where y fails still, its weight is the
number of times that faults must be put back anew, as stronger noise has them, until a failure is hit;
elsewhere it is 0. With K(x, y) and L(y, x) the probabilities of the two, p_t(x) K(x, y) = p_u(y) L(y, x), so
that with F, all that fails,

    sum_{x in F} p_t(x) / P(t) K(x, y) 1 / L(y, F) = p_u(y) / P(t)      for every y in F.

Hence P(u) / P(t) is the mean weight, and shots y chosen in proportion to their weights are a sample of noise
u given a failure. The faults that have no part in a failure, which are most, do not move the weights: they
are right by construction. (Weights exp((u - t) w) by the number of faults w would be unbiased too, but as
noisy as all of them.) Markov chains that begin at the chosen shots (`sims.rare.moves`) tell apart those that
were chosen twice.

This is a sequential Monte Carlo sampler (Del Moral, Doucet & Jasra, JRSS B 68, 411, 2006) that keeps states
along the chains ("waste-free": Dau & Chopin, JRSS B 84, 114, 2022): for tilts that were fixed before, the
product of all factors is unbiased, however badly the chains mix, which costs precision only. But where they
mix badly, all rests on the few direct shots that have descendants at the end: the estimate is skewed, mostly
below its mean, and a few repetitions agree better than they are right. So the precision is what their spread
says or what counting these ancestors would be worth, whichever is less. Splitting by Markov chains over
faults was brought to quantum error correction by Bravyi & Vargo, Phys. Rev. A 88, 062308 (2013), with ratios
of rates from chains at neighbouring p.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sims.rare.failures import Failures
from sims.rare.moves import propose
from sims.rare.noise import TiltedNoise

__all__ = ["Effort", "Ladder", "Repetition", "Report", "find_ladder", "repeat"]

_OFTEN = 0.03
"""The first tilt is the least of those tried at which so many shots fail: direct sampling is as good as
chains down to about there."""
_TRIED_SHOTS = 1024
_HALVINGS = 2
"""Of the first tilt's step, once it is found: stronger noise than is needed costs steps, and the decoder most
of its time (d = 21: 522 faults a shot in place of 420, which is half of all)."""
_DIRECT = 8
"""Shots sampled directly at the first tilt, for each state at one of the others: a third of the work, and of
the variance (d = 9, p = 0.003)."""
_TILT_STEP = 0.25
_MOST_TILT = 30.0
_STAYS = 0.5
"""Share of the shots that fail still, at which the next tilt is chosen."""
_MOVES = 2
"""Moves of a chain from one state that is kept to the next."""

Report = Callable[[str], None]


@dataclass(frozen=True)
class Effort:
    """Size of one repetition.

    Many short chains are more precise than a few long ones, whose states are alike: relative standard
    deviations 0.136, 0.101 and 0.090 with 96, 384 and 768 chains of 16, 4 and 2 states, for about the same
    work (d = 9, p = 0.003).

    Attributes:
        chains: decoded in one batch.
        steps: states of each chain at every tilt, its first one included; direct shots come in as many
            batches, eight times over.
    """

    chains: int = 768
    steps: int = 2

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
        log_rates: natural logarithm of the failure rate that it estimates at each tilt; -inf, and the last
            one, where nothing failed.
        decoded: shots.
        accepted: share of the proposals that were accepted, at each tilt with chains.
        origins: how many different direct shots have failures at the end that come from them.
        ancestors: the same, each for its part in the estimate: (sum of parts)^2 / sum of (part^2), so that it
            is `origins` where all have the same part, and less elsewhere; 0 without a failure.
    """

    log_rates: tuple[float, ...]
    decoded: int
    accepted: tuple[float, ...]
    origins: int
    ancestors: float

    @property
    def log_rate(self) -> float:
        """Natural logarithm of the logical error rate."""
        return self.log_rates[-1]


@dataclass(frozen=True, eq=False)
class _Sample:
    """Shots that fail, as keys, each from the direct shot `origin`, int64 `(shots,)`."""

    keys: np.ndarray
    origin: np.ndarray


_Lower = Callable[[float, _Sample], float]


def find_ladder(
    failures: Failures, effort: Effort, *, rng: np.random.Generator, report: Report = lambda text: None
) -> tuple[Ladder, Repetition]:
    """A ladder by a first run, which chooses each tilt by the sample that it has; and what this run found.

    Its estimate is not to be used: where the tilts depend on the sample, the estimate is not unbiased.

    Raises:
        ValueError: nothing fails, however strong the noise.
    """
    first = _first_tilt(failures, rng, report)
    tilts, step = [first], _TILT_STEP / 2

    def lower(tilt: float, sample: _Sample) -> float:
        nonlocal step
        step = _next_step(failures, sample, tilt, step, rng)
        tilts.append(max(0.0, tilt - step))
        return tilts[-1]

    found = _descend(failures, effort, first, lower, rng, report)
    if tilts[-1] > 0:
        raise ValueError(f"no failure is left at tilt {tilts[-1]:.3g}; give more --chains or --steps")
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
    lower: _Lower,
    rng: np.random.Generator,
    report: Report,
) -> Repetition:
    decoded, noise, accepted = failures.decoded, failures.noise, []
    sample = _direct(failures, effort, tilt, rng)
    log_rates = [_log(len(sample.origin) / effort.direct_shots)]
    parts = np.ones(len(sample.origin))
    report(f"{math.exp(log_rates[-1]):.2e} with {noise.mean_faults(tilt):.1f} faults a shot")
    while tilt > 0 and log_rates[-1] > -math.inf:
        low = lower(tilt, sample)
        fewer, weights = _weaken(failures, sample, tilt, low, rng)
        log_rates.append(log_rates[-1] + _log(float(weights.mean())))
        parts = np.bincount(sample.origin, weights=weights)
        tilt = low
        report(f"{math.exp(log_rates[-1]):.2e} with {noise.mean_faults(tilt):.1f} faults a shot")
        if tilt > 0 and log_rates[-1] > -math.inf:
            start = _choose(noise, fewer, weights, effort.chains, rng)
            sample, share = _walk(failures, start, effort, tilt, rng)
            accepted.append(share)
    origins = int(np.count_nonzero(parts))
    ancestors = float(parts.sum() ** 2 / (parts**2).sum()) if origins else 0.0
    return Repetition(tuple(log_rates), failures.decoded - decoded, tuple(accepted), origins, ancestors)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _first_tilt(failures: Failures, rng: np.random.Generator, report: Report) -> float:
    tilt, failed = 0.0, _tried(failures, 0.0, rng, report)
    while failed < _OFTEN * _TRIED_SHOTS:
        tilt += _TILT_STEP if failed else 2 * _TILT_STEP
        if tilt > _MOST_TILT:
            raise ValueError(
                f"fewer than {_OFTEN:.0%} of the shots fail however strong the noise; sample this task "
                "directly"
            )
        failed = _tried(failures, tilt, rng, report)
    step = _TILT_STEP / 2
    for _ in range(_HALVINGS):
        if tilt > 0 and _tried(failures, tilt - step, rng, report) >= _OFTEN * _TRIED_SHOTS:
            tilt -= step
        step /= 2
    return tilt


def _tried(failures: Failures, tilt: float, rng: np.random.Generator, report: Report) -> int:
    """How many of some shots fail."""
    keys = failures.noise.sample(tilt, shots=_TRIED_SHOTS, rng=rng)
    failed = int(failures.fail(keys, shots=_TRIED_SHOTS).sum())
    report(f"{failed} of {_TRIED_SHOTS} shots fail with {failures.noise.mean_faults(tilt):.1f} faults each")
    return failed


def _next_step(
    failures: Failures, sample: _Sample, tilt: float, guess: float, rng: np.random.Generator
) -> float:
    """How far the tilt may fall until `_STAYS` of the shots fail still; their share is tried at a guess.

    It falls about exponentially.
    """
    step = min(guess, tilt)
    fewer = failures.noise.weaker(sample.keys, tilt=tilt, to=tilt - step, rng=rng)
    share = float(failures.fail(fewer, shots=len(sample.origin)).mean())
    return step * math.log(_STAYS) / math.log(min(max(share, 0.05), 0.9))


def _direct(failures: Failures, effort: Effort, tilt: float, rng: np.random.Generator) -> _Sample:
    """The failures among direct shots."""
    noise, shots = failures.noise, effort.chains
    parts = []
    for _ in range(_DIRECT * effort.steps):
        keys = noise.sample(tilt, shots=shots, rng=rng)
        failed = np.flatnonzero(failures.fail(keys, shots=shots))
        parts.append((noise.take(keys, failed), len(failed)))
    count = sum(shots for _, shots in parts)
    return _Sample(_joined(parts, noise.num_mechanisms), np.arange(count))


def _weaken(
    failures: Failures, sample: _Sample, tilt: float, low: float, rng: np.random.Generator
) -> tuple[_Sample, np.ndarray]:
    """The shots with fewer faults, and their weights, float64 `(shots,)`; see the module's text."""
    noise, shots = failures.noise, len(sample.origin)
    fewer = noise.weaker(sample.keys, tilt=tilt, to=low, rng=rng)
    fails = failures.fail(fewer, shots=shots)
    weights = fails.astype(np.float64)
    left = np.flatnonzero(fails)
    while len(left):
        some = noise.take(fewer, left)
        more = noise.stronger(some, tilt=low, to=tilt, shots=len(left), rng=rng)
        left = left[~failures.fail(more, shots=len(left))]
        weights[left] += 1
    return _Sample(fewer, sample.origin), weights


def _choose(
    noise: TiltedNoise, sample: _Sample, weights: np.ndarray, count: int, rng: np.random.Generator
) -> _Sample:
    """Systematic resampling: `count` shots, each on average as often as its share of the weights says."""
    shares = np.cumsum(weights)
    marks = (np.arange(count) + rng.random()) / count * shares[-1]
    chosen = np.searchsorted(shares, marks, side="right")
    return _Sample(noise.take(sample.keys, chosen), sample.origin[chosen])


def _walk(
    failures: Failures, start: _Sample, effort: Effort, tilt: float, rng: np.random.Generator
) -> tuple[_Sample, float]:
    """All states of chains that begin at `start`, and the share of proposals that were accepted."""
    noise, shots = failures.noise, effort.chains
    n = noise.num_mechanisms
    keys, accepted, moves = start.keys, 0, 0
    parts = [(keys, shots)]
    for _ in range(effort.steps - 1):
        for _ in range(_MOVES):
            proposed = propose(noise, keys, tilt=tilt, shots=shots, rng=rng)
            fails = failures.fail(proposed, shots=shots)
            keys = np.sort(np.concatenate([proposed[fails[proposed // n]], keys[~fails[keys // n]]]))
            accepted += int(fails.sum())
            moves += shots
        parts.append((keys, shots))
    return _Sample(_joined(parts, n), np.tile(start.origin, effort.steps)), accepted / moves


def _joined(parts: list[tuple[np.ndarray, int]], mechanisms: int) -> np.ndarray:
    """Keys of batches, each with its number of shots, one after the other."""
    first = np.cumsum([0, *(shots for _, shots in parts)])[:-1]
    return np.concatenate([keys + at * mechanisms for (keys, _), at in zip(parts, first, strict=True)])
