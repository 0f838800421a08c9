"""Seeded sweeps: shots come in numbered blocks, each with a seed of its own, for any machine to take.

Block k of a task is the same wherever the versions are (`code_versions`), whoever decodes it. A shard
takes every n-th block; all shards together are the sweep of one machine.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Self

import sinter

from sims.sweeps.collect import Limits
from sims.sweeps.measured_sampler import CompiledMeasuredSampler
from sims.sweeps.versions import require_versions

__all__ = ["BLOCK_SHOTS", "BlockTask", "Seeded", "Shard", "block_seed", "decode_blocks"]

BLOCK_SHOTS = 1024
"""Shots of a block, unless a sweep says otherwise."""
_here = threading.local()
_COMPILED_TASKS = 4
"""Decoders that a worker keeps: tasks come one after the other."""


@dataclass(frozen=True)
class Shard:
    """Number `number` of `of` parts of a sweep, counted from 1."""

    number: int = 1
    of: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise ValueError(
                f"shard {self} does not exist; number them from 1/{self.of} to {self.of}/{self.of}"
            )

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Such as '2/8'."""
        found = re.fullmatch(r"([0-9]+)/([1-9][0-9]*)", text)
        if found is None:
            raise ValueError(f"--shard {text} is no part of a sweep; give 2/8 for the second of eight")
        return cls(int(found[1]), int(found[2]))

    def block(self, index: int) -> int:
        """Number of this shard's block `index`, in the sweep."""
        return self.number - 1 + index * self.of


@dataclass(frozen=True)
class Seeded:
    """Which shots a sweep takes.

    Attributes:
        seed: of all shards.
        block_shots: of every block.
        shard: the part of all blocks that is taken here.
    """

    seed: int
    block_shots: int
    shard: Shard = field(default_factory=Shard)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed={self.seed} is not an integer from 0 to 2^64 - 1")
        if self.block_shots < 1:
            raise ValueError(f"block_shots={self.block_shots} is less than 1")

    def limits(self, whole: Limits) -> Limits:
        """This shard's part of a sweep's limits: its blocks, and an equal part of the errors."""
        blocks = -(-whole.max_shots // self.block_shots)
        own = len(range(self.shard.number - 1, blocks, self.shard.of))
        if not own:
            raise ValueError(
                f"shard {self.shard} has no shots: {whole.max_shots} are {blocks} blocks of "
                f"{self.block_shots}; use fewer shards, a smaller --block-shots or more --max-shots"
            )
        errors = None if whole.max_errors is None else -(-whole.max_errors // self.shard.of)
        return Limits(own * self.block_shots, errors)


@dataclass(frozen=True, eq=False)
class BlockTask:
    """What a worker needs to decode blocks of a task; can be pickled.

    Attributes:
        decoder: the task's.
        key: of the task, its strong id, which no other circuit, decoder or network has.
        seed: of the sweep.
        shots: of every block.
        with_gaps: shots are counted by their gap too.
        code: versions that every worker must have, see `code_versions`; None for any.
    """

    task: sinter.Task
    decoder: sinter.Decoder
    key: str
    seed: int
    shots: int
    with_gaps: bool = False
    code: dict[str, str] | None = None


def block_seed(seed: int, key: str, block: int) -> int:
    """Seed of a block, 63 bits, of the sweep's seed and the task's strong id."""
    digest = hashlib.sha256(f"{seed} {key} {block}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def decode_blocks(of: BlockTask, blocks: list[int]) -> list[sinter.AnonTaskStats]:
    """What each block has, in their order.

    Raises:
        ValueError: the code that is here is not that of the sweep.
    """
    require_versions(of.code)
    compiled = _compiled(of)
    return [compiled.sample_seeded(of.shots, seed=block_seed(of.seed, of.key, block)) for block in blocks]


def _compiled(of: BlockTask) -> CompiledMeasuredSampler:
    """This thread's: compiled decoders are not for several at once, and a cluster's worker may have some."""
    if not hasattr(_here, "compiled"):
        _here.compiled = OrderedDict()
    kept: OrderedDict[str, CompiledMeasuredSampler] = _here.compiled
    if of.key not in kept:
        kept[of.key] = CompiledMeasuredSampler(of.decoder, of.task, with_gaps=of.with_gaps)
    kept.move_to_end(of.key)
    while len(kept) > _COMPILED_TASKS:
        kept.popitem(last=False)
    return kept[of.key]
