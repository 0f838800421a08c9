"""What cards can do at most, as their makers say, and what of it kernels get.

Rates are of dense numbers (no sparsity), in products and sums of matrix units a second; bytes are a second
and one way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["CARDS", "Card", "card_called"]


@dataclass(frozen=True)
class Card:
    """A GPU.

    Attributes:
        name: as it is called in tables.
        names: parts of the names by which drivers know it, the first that fits counts.
        multiprocessors: that run at once.
        clock_hz: that they keep up.
        matrix_rates: operations a second of the matrix units, by precision; a precision that is missing has
            none there.
        scalar_rate: float32 operations a second outside the matrix units.
        memory_rate: bytes a second of its memory.
        cache_rate: bytes a second of its second-level cache.
        cache_bytes: size of that cache.
        link_rate: bytes a second to or from the host.
    """

    name: str
    names: tuple[str, ...]
    multiprocessors: int
    clock_hz: float
    matrix_rates: Mapping[str, float]
    scalar_rate: float
    memory_rate: float
    cache_rate: float
    cache_bytes: float
    link_rate: float


_HOPPER = {"float16": 989e12, "bfloat16": 989e12, "fp8": 1979e12, "int8": 1979e12}

CARDS = (
    Card(
        name="A100",
        names=("A100",),
        multiprocessors=108,
        clock_hz=1.41e9,
        matrix_rates={"float16": 312e12, "bfloat16": 312e12, "int8": 624e12},
        scalar_rate=19.5e12,
        memory_rate=2.04e12,
        cache_rate=4e12,
        cache_bytes=40e6,
        link_rate=25e9,  # PCIe 4, 16 lanes
    ),
    Card(
        name="H100",
        names=("H100",),
        multiprocessors=132,
        clock_hz=1.7e9,
        matrix_rates=_HOPPER,
        scalar_rate=67e12,
        memory_rate=3.35e12,
        cache_rate=5.5e12,
        cache_bytes=50e6,
        link_rate=50e9,  # PCIe 5, 16 lanes
    ),
    Card(
        name="H200",
        names=("H200",),
        multiprocessors=132,
        clock_hz=1.7e9,
        matrix_rates=_HOPPER,
        scalar_rate=67e12,
        memory_rate=4.8e12,
        cache_rate=5.5e12,
        cache_bytes=60e6,
        link_rate=50e9,
    ),
    Card(
        name="GB300",
        names=("GB300", "B300"),
        multiprocessors=160,
        clock_hz=1.9e9,
        matrix_rates={"float16": 2.5e15, "bfloat16": 2.5e15, "fp8": 5e15},  # next to no int8
        scalar_rate=77e12,
        memory_rate=8e12,
        cache_rate=20e12,
        cache_bytes=126e6,
        link_rate=400e9,  # NVLink to the host's own processor
    ),
)
"""The cards that predictions are made for."""


def card_called(name: str) -> Card:
    """The card that a name means, in a table or as a driver says it ("NVIDIA H100 80GB HBM3").

    Raises:
        ValueError: none of the cards.
    """
    for card in CARDS:
        if any(part.lower() in name.lower() for part in card.names):
            return card
    raise ValueError(f"card {name!r} is unknown; the model knows {', '.join(card.name for card in CARDS)}")
