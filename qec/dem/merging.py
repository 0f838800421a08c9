"""What is likeliest of mechanisms that no syndrome tells apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from qec.dem.mechanisms import odd

__all__ = ["Observables", "likeliest", "odd_of_all"]

Observables = tuple[int, ...]

_MOST_CLASSES = 4096
"""Logical classes that are kept apart; only dozens of alternatives with other observables each have more."""


def odd_of_all(probabilities: Iterable[float]) -> float:
    """Probability that an odd number of independent events happens, each at most 1/2."""
    together = 0.0
    # Sorted: the same probabilities in another order must give the same number.
    for p in sorted(probabilities):
        together = odd(together, p)
    return min(together, 0.5)


def likeliest(alternatives: Mapping[Observables, float]) -> Observables:
    """The observables that are flipped most probably if the detectors of all alternatives are flipped.

    The detectors are flipped where an odd number of alternatives happened: one of them, or three, whose
    observables then add up. (Where an even number happened, most probably nothing is flipped: no
    probability is above 1/2.) None is likelier than all alternatives, so that it is one of these; of equally
    likely ones the first in order.

    Args:
        alternatives: probability of each set of observables, at most 1/2.
    """
    if len(alternatives) == 1:
        return next(iter(alternatives))
    classes: dict[tuple[bool, frozenset[int]], float] = {(False, frozenset()): 1.0}
    for observables, p in sorted(alternatives.items()):
        after: dict[tuple[bool, frozenset[int]], float] = {}
        for (parity, flips), before in classes.items():
            for key, part in (
                ((parity, flips), before * (1 - p)),
                ((not parity, flips ^ frozenset(observables)), before * p),
            ):
                after[key] = after.get(key, 0.0) + part
        classes = dict(sorted(after.items(), key=lambda item: -item[1])[:_MOST_CLASSES])
    found = [(-p, tuple(sorted(flips))) for (parity, flips), p in classes.items() if parity]
    # Three alternatives of probability 1/2 are as likely as one of them, and nothing else may flip their sum.
    return min([one for one in found if one[1] in alternatives] or found)[1]
