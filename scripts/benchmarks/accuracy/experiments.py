"""Memory experiments of d rounds that decoders are compared on, by the names that results call them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import stim

from predecoder.training import EvaluationCase, Noise
from qec import Basis
from scripts.benchmarks.accuracy.cz_gates import si1000_cz_circuit

__all__ = ["Experiment", "NoiseName"]

NoiseName = Literal["depolarizing", "si1000", "measurement-3x", "log-normal-0.5", "si1000-cz"]
"""Those of `predecoder.training.Noise`, and SI1000 on circuits of CZ gates."""


@dataclass(frozen=True)
class Experiment:
    """One cell of a table.

    Attributes:
        noise: of `predecoder.training.Noise`, rounds counted as the paper's reference does, with a last one
            without noise; or `si1000-cz`, whose last round is like the others.
        p: its strength.
        d: distance, and number of rounds.
        basis: of the memory.
    """

    noise: NoiseName
    p: float
    d: int
    basis: Basis

    def circuit(self) -> stim.Circuit:
        """The circuit to sample."""
        if self.noise == "si1000-cz":
            return si1000_cz_circuit(distance=self.d, rounds=self.d, basis=self.basis, p=self.p)
        noise = cast(Noise, self.noise)
        return EvaluationCase(self.d, self.p, self.basis, 1, perfect_last_round=True, noise=noise).circuit()

    @property
    def columns(self) -> dict[str, Any]:
        """As rows of results name it."""
        return asdict(self)
