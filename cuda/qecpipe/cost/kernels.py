"""What a launch of a kernel does, and the seconds that it takes of a card.

A convolution is a product of matrices: rows are cells of all shots, columns its outputs, and the depth is its
inputs times the taps of its kernel. Multiprocessors take tiles of 128 rows by up to 128 columns, one after
another, so that time comes in waves: with fewer tiles than multiprocessors, the time is that of one tile,
however few there are. That, and not the card's peak, is what a single shot waits for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from cuda.qecpipe.cost.cards import Card

__all__ = ["ELEMENT_BYTES", "TERMS", "Kernel", "MatrixProduct", "convolution", "elementwise"]

ELEMENT_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "fp8": 1, "int8": 1}
"""Of the precisions that a network computes in."""
TERMS = ("launches", "arithmetic", "operands", "memory", "activation", "link", "host")
"""What time is spent on. Operands are what multiprocessors read of what they multiply, through the caches."""

TILE_ROWS, TILE_COLUMNS = 128, 128
SUSTAINED = 0.6
"""Part of the matrix units' rate within a tile: library convolutions; large matrix products get 0.8."""
LAUNCH_SECONDS = 1e-6
"""From one kernel to the next inside a CUDA graph."""
OPERAND_BYTES_PER_CLOCK = 64
"""That a multiprocessor gets of the second-level cache."""
ACTIVATIONS_PER_CLOCK = 1.6
"""Elements of GELU by tanh that a multiprocessor computes between the products, all conversions included."""
_GRANULE_BYTES = 16
"""Matrix units take rows of whole granules: fewer inputs or outputs are filled up with zeros."""


@dataclass(frozen=True)
class MatrixProduct:
    """A product of matrices `(rows, depth)` and `(depth, columns)`, zeros that fill it up included."""

    rows: int
    columns: int
    depth: int

    @property
    def operations(self) -> float:
        """Products and sums."""
        return 2.0 * self.rows * self.columns * self.depth

    def tile_terms(self, card: Card, precision: str) -> dict[str, float]:
        """Seconds of the waves of tiles: of their arithmetic, and of reading their operands."""
        columns = min(TILE_COLUMNS, self.columns)
        tiles = -(-self.rows // TILE_ROWS) * -(-self.columns // columns)
        waves = -(-tiles // card.multiprocessors)
        rate = SUSTAINED * _rate(card, precision) / card.multiprocessors
        operands = TILE_ROWS * self.depth * ELEMENT_BYTES[precision]
        return {
            "arithmetic": waves * 2.0 * TILE_ROWS * columns * self.depth / rate,
            "operands": waves * operands / (OPERAND_BYTES_PER_CLOCK * card.clock_hz),
        }


@dataclass(frozen=True)
class Kernel:
    """Some launches that do the same.

    Attributes:
        name: for tables.
        precision: of the matrix product.
        product: what the matrix units do, if anything.
        scalar_operations: float32 operations outside them.
        activations: elements of a nonlinearity other than a maximum with zero.
        bytes: read and written, each once.
        launches: how many.
    """

    name: str
    precision: str
    bytes: float
    product: MatrixProduct | None = None
    scalar_operations: float = 0.0
    activations: float = 0.0
    launches: int = 1

    @property
    def operations(self) -> float:
        """Products and sums, in and outside the matrix units."""
        return self.scalar_operations + (self.product.operations if self.product else 0.0)

    def terms(self, card: Card) -> dict[str, float]:
        """Seconds by what they are spent on: of arithmetic, operands and memory, which overlap, the longest.

        Raises:
            ValueError: the card does not multiply in this precision.
        """
        rate = card.cache_rate if self.bytes < card.cache_bytes / 2 else card.memory_rate
        overlapping = {"arithmetic": 0.0, "operands": 0.0}
        if self.product:
            overlapping = self.product.tile_terms(card, self.precision)
        overlapping["arithmetic"] += self.scalar_operations / (SUSTAINED * card.scalar_rate)
        overlapping["memory"] = self.bytes / rate
        longest = max(overlapping, key=lambda term: overlapping[term])
        per_second = ACTIVATIONS_PER_CLOCK * card.clock_hz * card.multiprocessors
        return {
            "launches": self.launches * LAUNCH_SECONDS,
            longest: overlapping[longest],
            "activation": self.activations / per_second,
        }


def convolution(
    name: str,
    *,
    cells: int,
    inputs: int,
    outputs: int,
    taps: int,
    precision: str,
    activation: bool = False,
    added: bool = False,
) -> Kernel:
    """A dense convolution that keeps the shape, with what is fused behind it.

    Args:
        cells: of all shots.
        inputs, outputs: channels.
        taps: of its kernel, 27 for 3 x 3 x 3.
        activation: whether a GELU follows.
        added: whether the result is added to what the output held before.
    """
    size = ELEMENT_BYTES[precision]
    weights = taps * inputs * outputs
    moved = float(size) * (cells * (inputs + outputs * (2 if added else 1)) + weights)
    activations = float(cells * outputs) if activation else 0.0
    if precision == "float32":  # exact products: not on matrix units, which would round their factors
        return Kernel(
            name, precision, moved, scalar_operations=2.0 * cells * weights, activations=activations
        )
    granule = _GRANULE_BYTES // size
    columns = max(16, granule * math.ceil(outputs / granule))
    product = MatrixProduct(cells, columns, taps * granule * math.ceil(inputs / granule))
    return Kernel(name, precision, moved, product=product, activations=activations)


def elementwise(
    name: str, *, read: float, written: float, precision: str, operations: float = 0.0, launches: int = 1
) -> Kernel:
    """A kernel without matrix products: bytes that it reads and writes, and its float32 operations."""
    return Kernel(name, precision, bytes=read + written, scalar_operations=operations, launches=launches)


def _rate(card: Card, precision: str) -> float:
    if precision not in card.matrix_rates:
        known = ", ".join(("float32", *card.matrix_rates))
        raise ValueError(f"{card.name} has no matrix units for precision={precision!r}; use one of {known}")
    return card.matrix_rates[precision]
