"""Shots through the network: logits, and the residual that each of several decisions leaves.

Shots are bit-packed uint8 `(B, ceil(n / 8))`, LSB first. Shape legend: B shots, M moves in the order of
`MoveSet`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from global_decoders.matching import Logits
from predecoder.correction.decision import Decision
from predecoder.correction.device_correction import DeviceCorrection
from predecoder.correction.residual import Residual
from predecoder.inference import (
    DeviceEngine,
    EngineOptions,
    NativeEngine,
    TorchEngine,
    fitting_shots,
    make_engine,
)
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

        self.logits = make_engine(problem, network, options)
        """Logits float32 `(B, M)` of shots."""
        self.batch_shots = options.batch_shots or fitting_shots(problem.layout)
        if isinstance(self.logits, DeviceEngine):
            self.batch_shots = self.logits.batch_shots
        self.native = isinstance(self.logits, NativeEngine)
        alone = isinstance(self.logits, TorchEngine)  # which has its own threads
        self._threads = 1 if alone else options.threads or torch.get_num_threads()
        self._pool: ThreadPoolExecutor | None = None
        self._num_moves, self._num_observables = problem.moves.num_moves, problem.layout.num_observables
        self._on_device = DeviceCorrection(problem, self.logits)
        self.apply = Residual(problem.moves)
        """Residual syndrome and observable flips, bit-packed, of shots and moves uint8 0/1 `(B, M)`."""

    def propose(self, packed: np.ndarray, decisions: Sequence[Decision]) -> list[np.ndarray]:
        """Moves that each decision commits, uint8 0/1 `(B, M)`, from one run of the network."""
        if not isinstance(self.logits, DeviceEngine):
            logits = self.logits(packed)
            return [decision(logits, packed) for decision in decisions]
        moves = [np.empty((len(packed), self._num_moves), dtype=np.uint8) for _ in decisions]
        corrections = self._on_device.of(decisions)
        if corrections is not None:
            for part, found in self.logits.corrections(packed, corrections):
                bits = np.unpackbits(found["moves"], axis=1, count=self._num_moves, bitorder="little")
                moves[0][part] = bits
            return moves

        def decide(part: slice, logits: Logits) -> None:
            for decision, of_decision in zip(decisions, moves, strict=True):
                of_decision[part] = decision(logits, packed[part])

        self._decide(packed, decide)
        return moves

    def residuals(
        self, packed: np.ndarray, decisions: Sequence[Decision]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Residual syndrome and observable flips under each decision, some batches at a time."""
        width = -(-self._num_observables // 8)
        results = [(np.empty_like(packed), np.empty((len(packed), width), np.uint8)) for _ in decisions]
        corrections = self._on_device.of(decisions)
        if corrections is not None:
            assert isinstance(self.logits, DeviceEngine)
            ((residual, flips),) = results
            for part, found in self.logits.corrections(packed, corrections):
                residual[part], flips[part] = found["residual"], found["flips"]
            return results

        def decide(part: slice, logits: Logits) -> None:
            for decision, (residual, flips) in zip(decisions, results, strict=True):
                residual[part], flips[part] = self.apply(packed[part], decision(logits, packed[part]))

        self._decide(packed, decide)
        return results

    def _decide(self, packed: np.ndarray, decide: Callable[[slice, Logits], None]) -> None:
        """Calls `decide` for all shots, part by part, with their logits; from several threads at once."""
        if isinstance(self.logits, DeviceEngine):
            # While threads decide about a batch, devices compute the next ones.
            for batch, logits in self.logits.batches(packed):
                size = -(-len(logits) // self._threads)
                shares = [slice(k, min(k + size, len(logits))) for k in range(0, len(logits), size)]
                self._spread(
                    lambda share, start=batch.start, of=logits: decide(
                        slice(start + share.start, start + share.stop), of[share]
                    ),
                    shares,
                )
            return
        size = _BATCHES_PER_DECISION * self.batch_shots
        if self._threads > 1:
            size = max(1, min(size, -(-len(packed) // self._threads)))
        parts = [slice(start, start + size) for start in range(0, len(packed), size)]
        self._spread(lambda part: decide(part, self.logits(packed[part])), parts)

    def _spread(self, run: Callable[[slice], None], parts: Sequence[slice]) -> None:
        if self._threads == 1 or len(parts) == 1:
            for part in parts:
                run(part)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads)
        list(self._pool.map(run, parts))
