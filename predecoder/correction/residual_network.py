"""Shots through the network: logits, and the residual that each of several decisions leaves.

Shots are bit-packed uint8 `(B, ceil(n / 8))`, LSB first. Shape legend: B shots, M moves in the order of
`MoveSet`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from predecoder.correction.decision import Decision
from predecoder.correction.residual import Residual
from predecoder.inference import EngineOptions, NativeEngine, fitting_shots, make_engine
from qec import DecodingProblem

if TYPE_CHECKING:
    from predecoder.network import Network

__all__ = ["ResidualNetwork"]

_BATCHES_PER_DECISION = 8
"""Batches whose moves are decided together: part of a decision's cost does not depend on the shots."""


class ResidualNetwork:
    """A network on one decoding problem.

    Attributes:
        batch_shots: shots that go through the network at a time.
        native: whether the engine in C++ runs the network.
    """

    def __init__(self, problem: DecodingProblem, network: Network, options: EngineOptions) -> None:
        import torch

        self.batch_shots = options.batch_shots or fitting_shots(problem.layout)
        self.logits = make_engine(
            problem, network, dataclasses.replace(options, batch_shots=self.batch_shots)
        )
        """Logits float32 `(B, M)` of shots."""
        self.native = isinstance(self.logits, NativeEngine)
        self._threads = (options.threads or torch.get_num_threads()) if self.native else 1
        self._num_observables = problem.layout.num_observables
        self.apply = Residual(problem.moves)
        """Residual syndrome and observable flips, bit-packed, of shots and moves uint8 0/1 `(B, M)`."""

    def propose(self, packed: np.ndarray, decisions: Sequence[Decision]) -> list[np.ndarray]:
        """Moves that each decision commits, uint8 0/1 `(B, M)`, from one run of the network."""
        logits = self.logits(packed)
        return [decision(logits, packed) for decision in decisions]

    def residuals(
        self, packed: np.ndarray, decisions: Sequence[Decision]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Residual syndrome and observable flips under each decision, some batches at a time."""
        width = -(-self._num_observables // 8)
        results = [(np.empty_like(packed), np.empty((len(packed), width), np.uint8)) for _ in decisions]

        def run(part: slice) -> None:
            for moves, (residual, flips) in zip(self.propose(packed[part], decisions), results, strict=True):
                residual[part], flips[part] = self.apply(packed[part], moves)

        size = _BATCHES_PER_DECISION * self.batch_shots
        if self._threads > 1:
            size = max(1, min(size, -(-len(packed) // self._threads)))
        parts = [slice(start, start + size) for start in range(0, len(packed), size)]
        if self._threads == 1 or len(parts) == 1:
            for part in parts:
                run(part)
        else:
            with ThreadPoolExecutor(self._threads) as pool:
                list(pool.map(run, parts))
        return results
