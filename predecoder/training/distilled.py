"""What a larger network knows: how likely it holds every move to be, and every logical class.

It says more of a shot than any one correction, or than the true class, and is little noisier than its
teacher, so a small network learns from fewer shots. Shape legend: B shots, N moves of `MoveSet`, O
observables.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from global_decoders import compile_normal_form, decode_with_gap
from predecoder.inference import EngineOptions, make_engine
from predecoder.network import Network, removal_network
from predecoder.neural_ensemble import NeuralEnsembleDecoder
from predecoder.training.labels import Keep, LabelledShots, sample_kept
from predecoder.training.logical_class import ClassMatching
from predecoder.weights import load_network
from qec import DecodingProblem

__all__ = ["ClassTeacher", "DistilledLabels", "EnsembleTeacher"]


class DistilledLabels:
    """The probabilities that a trained network gives.

    Attributes:
        logits_are_matched: whether the network's logits for a matching are these; not so if it has two heads.
    """

    def __init__(self, problem: DecodingProblem, network: Network) -> None:
        self._dem = problem.dem
        self._teacher = make_engine(problem, removal_network(network), EngineOptions("cpu"))
        self.logits_are_matched = network.removal_head is None
        self._last: tuple[np.ndarray, np.ndarray] | None = None

    def sample(self, shots: int, *, seed: int, keep: Keep | None = None) -> LabelledShots:
        """Sample shots, those that `keep` wants; labels are float16 `(B, N)`."""
        packed, truth, _ = sample_kept(self._dem, shots, seed=seed, keep=keep)
        return LabelledShots(packed, self.label(packed), truth)

    def label(self, packed: np.ndarray) -> np.ndarray:
        """Labels of given detections, bit-packed uint8 `(B, ceil(num_detectors / 8))` LSB first."""
        return torch.sigmoid(torch.from_numpy(self.logits(packed))).numpy().astype(np.float16)

    def logits(self, packed: np.ndarray) -> np.ndarray:
        """The network's logits of given detections, float32 `(B, N)`; those of the last call are kept."""
        if self._last is None or not np.array_equal(self._last[0], packed):
            self._last = packed.copy(), self._teacher(packed)
        return self._last[1]


class ClassTeacher:
    """The gap between the two logical classes of every observable, on a trained network's logits."""

    def __init__(
        self,
        problem: DecodingProblem,
        weights: str,
        *,
        logits: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        """Prepare the network and the matchings.

        Args:
            weights: a shipped name or a path.
            logits: the network's, where it is there already.

        Raises:
            LayoutError: a cycle of moves between detectors flips an observable.
        """
        observables = range(problem.layout.num_observables)
        self._matchings = [ClassMatching(problem.moves, k) for k in observables]
        self._logits = logits or make_engine(problem, load_network(weights), EngineOptions("cpu"))

    def __call__(self, packed: np.ndarray) -> np.ndarray:
        """cost(class 1) - cost(class 0) in nats, float32 `(B, O)`, of bit-packed detections."""
        logits = self._logits(packed)
        return np.stack([matching.gap(logits, packed) for matching in self._matchings], axis=1)


class EnsembleTeacher:
    """The gap of `neural-ensemble`: that network both ways in time, and correlated matching beside it."""

    def __init__(self, problem: DecodingProblem, weights: str) -> None:
        """Compile it, see `NeuralEnsembleDecoder`; `weights` are a shipped name or a path."""
        decoder = NeuralEnsembleDecoder(weights=weights, device="cpu", threads=1)
        self._compiled = compile_normal_form(decoder, problem.normal)

    def __call__(self, packed: np.ndarray) -> np.ndarray:
        """Log-odds of no flip in nats, float32 `(B, O)`, of bit-packed detections."""
        return decode_with_gap(self._compiled, packed).log_odds.astype(np.float32)
