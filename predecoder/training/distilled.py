"""Labels from a larger network: how likely it holds every move to be.

They say more of a shot than any one correction does, and what a network knows is little noisier than
its teacher, so a small network learns from fewer shots. Shape legend: B shots, N moves of `MoveSet`.
"""

from __future__ import annotations

import numpy as np
import torch

from predecoder.inference import make_engine
from predecoder.network import Network
from predecoder.training.labels import Keep, LabelledShots, sample_kept
from qec import DecodingProblem

__all__ = ["DistilledLabels"]


class DistilledLabels:
    """The probabilities that a trained network gives."""

    def __init__(self, problem: DecodingProblem, network: Network) -> None:
        self._dem = problem.dem
        self._teacher = make_engine(problem, network, device=torch.device("cpu"))

    def sample(self, shots: int, *, seed: int, keep: Keep | None = None) -> LabelledShots:
        """Sample shots, those that `keep` wants; labels are float16 `(B, N)`."""
        packed, truth, _ = sample_kept(self._dem, shots, seed=seed, keep=keep)
        return LabelledShots(packed, self.label(packed), truth)

    def label(self, packed: np.ndarray) -> np.ndarray:
        """Labels of given detections, bit-packed uint8 `(B, ceil(num_detectors / 8))` LSB first."""
        return torch.sigmoid(torch.from_numpy(self._teacher(packed))).numpy().astype(np.float16)
