"""What a network is told of an experiment beside its detections, and which of its layers are alike.

Shape legend: T layers, (I, J) cells of 2 x 2 ancillas, n planes of a cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from predecoder.inference.table_layout import cells
from qec import DecodingProblem

__all__ = ["LayerInputs", "LayerKinds"]


@dataclass(frozen=True, eq=False)
class LayerInputs:
    """An experiment's layers, padded to an even number, as a network's biases depend on them.

    Attributes:
        present: bool `(T, 4, I, J)`: where detectors are.
        features: float32 `(T, 32, I, J)`, the noise features; None for networks that are not given any.
    """

    present: np.ndarray
    features: np.ndarray | None

    @classmethod
    def of_problem(cls, problem: DecodingProblem, *, noise_conditioned: bool) -> LayerInputs:
        """Those of one problem."""
        features = problem.noise_features if noise_conditioned else None
        return cls.of_grids(problem.layout.detector_grid >= 0, features)

    @classmethod
    def of_grids(cls, present: np.ndarray, features: np.ndarray | None) -> LayerInputs:
        """Those of detectors bool `(T, 2 I, 2 J)` and noise features `(8, T, 2 I, 2 J)` or None."""
        folded = None if features is None else np.concatenate([cells(grid) for grid in features], axis=1)
        return cls(cells(present), folded)


@dataclass(frozen=True, eq=False)
class LayerKinds:
    """Layers of some experiments, of the same kind where they and those around them are alike.

    Attributes:
        first: of every kind, an experiment and a layer of it.
        of: of every experiment, the kind of every layer, int32 `(T,)`.
        reach: how many layers around count.
    """

    first: list[tuple[int, int]]
    of: list[np.ndarray]
    reach: int

    @classmethod
    def sort(cls, experiments: Sequence[np.ndarray], *, reach: int) -> LayerKinds:
        """Sort the layers of arrays `(T, n, I, J)`."""
        outside: list[bytes | None] = [None] * reach
        kinds: dict[tuple[bytes | None, ...], int] = {}
        first, of = [], []
        for number, planes in enumerate(experiments):
            layers = [*outside, *(layer.tobytes() for layer in planes), *outside]
            kind = np.empty(len(planes), dtype=np.int32)
            for t in range(len(planes)):
                kind[t] = kinds.setdefault(tuple(layers[t : t + 2 * reach + 1]), len(kinds))
                if kind[t] == len(first):
                    first.append((number, t))
            of.append(kind)
        return cls(first, of, reach)

    def around(self, experiments: Sequence[np.ndarray]) -> np.ndarray:
        """A layer of each kind with those around it, zeros outside: `(kinds, n, 2 reach + 1, I, J)`."""
        edge = [(self.reach, self.reach), (0, 0), (0, 0), (0, 0)]
        padded = [np.pad(planes, edge) for planes in experiments]
        parts = [padded[number][t : t + 2 * self.reach + 1] for number, t in self.first]
        return np.stack(parts).swapaxes(1, 2)
