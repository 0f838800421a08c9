"""Seconds of a pipeline's stages on a card: of one batch alone, and with the next batches behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cuda.qecpipe.cost.cards import Card
from cuda.qecpipe.cost.kernels import TERMS, Kernel

__all__ = ["GRAPH_SECONDS", "Estimate", "Stage", "StageTime", "estimate"]

GRAPH_SECONDS = 12e-6
"""From the host's launch of a graph to its first kernel, and from its last one to the host's noticing, with
the conversions that a library does at either end."""


@dataclass(frozen=True)
class Stage:
    """A part of a pipeline for one batch.

    Attributes:
        name: of the stage.
        kernels: on the card.
        link_bytes: to the card, or from it.
        host_seconds: of one core, of all shots together.
    """

    name: str
    kernels: tuple[Kernel, ...] = ()
    link_bytes: float = 0.0
    host_seconds: float = 0.0

    @property
    def operations(self) -> float:
        """Products and sums on the card."""
        return sum(kernel.operations for kernel in self.kernels)

    @property
    def bytes(self) -> float:
        """Read and written on the card."""
        return sum(kernel.bytes for kernel in self.kernels)

    @property
    def launches(self) -> int:
        """Kernels and copies."""
        return sum(kernel.launches for kernel in self.kernels) + bool(self.link_bytes)


@dataclass(frozen=True)
class StageTime:
    """Seconds of a stage, by what they are spent on (`TERMS`)."""

    stage: Stage
    terms: Mapping[str, float]

    @property
    def seconds(self) -> float:
        """All of them."""
        return sum(self.terms.values())

    @property
    def binding(self) -> str:
        """What most of them are spent on."""
        return max(self.terms, key=lambda term: self.terms[term])


@dataclass(frozen=True)
class Estimate:
    """Seconds of a batch.

    Attributes:
        card: where.
        stages: in order.
        cores: of the host, that share a batch's shots.
    """

    card: Card
    stages: tuple[StageTime, ...]
    cores: int

    @property
    def terms(self) -> dict[str, float]:
        """Seconds of a batch alone, by what they are spent on."""
        totals: dict[str, float] = dict.fromkeys(TERMS, 0.0)
        totals["launches"] = GRAPH_SECONDS
        for stage in self.stages:
            for term, seconds in stage.terms.items():
                totals[term] += seconds
        return totals

    @property
    def alone(self) -> float:
        """From the first byte up to the last result, with nothing else under way."""
        return sum(self.terms.values())

    @property
    def alone_binding(self) -> str:
        """What a batch alone spends most of its time on."""
        return max(self.terms, key=lambda term: self.terms[term])

    @property
    def resources(self) -> dict[str, float]:
        """Seconds that a batch keeps the card, the link's two directions and the host's cores busy."""
        busy = {"card": 0.0, "link": 0.0, "host": 0.0}
        for stage in self.stages:
            for term, seconds in stage.terms.items():
                key = term if term in ("link", "host") else "card"
                # Directions do not wait for each other.
                busy[key] = max(busy[key], seconds) if key == "link" else busy[key] + seconds
        return busy

    @property
    def sustained(self) -> float:
        """Of a batch among many, where transfers and the host's work overlap with the card's."""
        return max(self.resources.values())

    @property
    def binding(self) -> str:
        """What a batch among many spends most of its time on: link, host, or the card's longest term."""
        resources = self.resources
        longest = max(resources, key=lambda name: resources[name])
        if longest != "card":
            return longest
        on_card = {term: seconds for term, seconds in self.terms.items() if term not in ("link", "host")}
        on_card["launches"] -= GRAPH_SECONDS
        return max(on_card, key=lambda term: on_card[term])


def estimate(stages: Sequence[Stage], card: Card, *, shots: int, cores: int = 1) -> Estimate:
    """Predict the time of a batch.

    Args:
        shots: of the batch; a core takes whole shots.
        cores: of the host.

    Raises:
        ValueError: a number below 1, or the card does not multiply in a kernel's precision.
    """
    for name, value in (("shots", shots), ("cores", cores)):
        if value < 1:
            raise ValueError(f"{name}={value} is less than 1")
    return Estimate(card, tuple(_timed(stage, card, shots=shots, cores=cores) for stage in stages), cores)


def _timed(stage: Stage, card: Card, *, shots: int, cores: int) -> StageTime:
    totals: dict[str, float] = dict.fromkeys(TERMS, 0.0)
    for kernel in stage.kernels:
        for term, seconds in kernel.terms(card).items():
            totals[term] += seconds
    totals["link"] = stage.link_bytes / card.link_rate
    totals["host"] = stage.host_seconds / shots * -(-shots // cores)
    return StageTime(stage, {term: seconds for term, seconds in totals.items() if seconds})
