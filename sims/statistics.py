"""Intervals for counted errors: one rate, and the ratio of two rates."""

from __future__ import annotations

from dataclasses import dataclass

import sinter

CONFIDENCE = 0.95
INTERVAL_NAME = "95% Clopper-Pearson"
ENOUGH_ERRORS = 100
"""Below this many errors on either side a ratio of error rates is a hint and not a result."""


@dataclass(frozen=True)
class Estimate:
    """A value and its confidence interval, `low <= best <= high`."""

    low: float
    best: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.best <= self.high:
            raise ValueError(f"not (low <= best <= high): {self}")


def error_rate(errors: int, shots: int) -> Estimate:
    """Rate of `errors` in `shots` with its exact (Clopper-Pearson) 95% interval."""
    low, high = _binomial_interval(errors, shots)
    return Estimate(low, errors / shots, high)


def per_round(rate: Estimate, rounds: int) -> Estimate:
    """Error rate of one round whose `rounds`-fold XOR has the shot error rate `rate`."""
    low, best, high = (
        sinter.shot_error_rate_to_piece_error_rate(value, pieces=rounds)
        for value in (rate.low, rate.best, rate.high)
    )
    return Estimate(low, best, high)


def rate_ratio(*, base_errors: int, base_shots: int, errors: int, shots: int) -> Estimate | None:
    """How many times larger the base error rate is: (base_errors/base_shots) / (errors/shots).

    Given the total number of errors, the base's share of them is binomial with a parameter that is
    monotone in the ratio, so its Clopper-Pearson interval carries over. Exact for Poisson counts,
    slightly wide for binomial ones; the two sets of shots are independent (of the same shots it is
    `qec.ratio_of_errors`). None without any error.
    """
    total = base_errors + errors
    if total == 0 or base_shots == 0 or shots == 0:
        return None
    low, high = _binomial_interval(base_errors, total)
    return Estimate(*(_odds(share) * shots / base_shots for share in (low, base_errors / total, high)))


def _odds(share: float) -> float:
    return share / (1 - share) if share < 1 else float("inf")


def _binomial_interval(hits: int, shots: int) -> tuple[float, float]:
    from scipy.special import betaincinv

    if not 0 <= hits <= shots or shots == 0:
        raise ValueError(f"need 0 <= hits <= shots and shots > 0, got {hits=} and {shots=}")
    tail = (1 - CONFIDENCE) / 2
    low = 0.0 if hits == 0 else float(betaincinv(hits, shots - hits + 1, tail))
    high = 1.0 if hits == shots else float(betaincinv(hits + 1, shots - hits, 1 - tail))
    return low, high
