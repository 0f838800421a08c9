"""How mechanisms may deviate from the shared-parameter fit: by how much, and which of them together.

A mechanism that many locations feed deviates less, relatively, than one that a single location does; and
a location that is worse than its like is so in every round. So the deviation of detector set S is
delta_S = d_S (sqrt(w) u_C(S) + sqrt(1 - w) v_S), with u and v standard normal, d_S = tau a_S /
sqrt(n_S), n_S the number of locations behind S, and C(S) the class of S: its time translations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from noise_learning.models.shared_parameters import SharedParameterModel
from noise_learning.models.time_translations import time_translation_classes


@dataclass(frozen=True, eq=False)
class Deviations:
    """Deviations of tau = 1.

    Attributes:
        together: float64 (detector sets, classes), d_S where a set is in the class.
        alone: float64 (detector sets,), d_S.
    """

    together: sp.csr_matrix
    alone: np.ndarray

    @classmethod
    def of(cls, model: SharedParameterModel, centre: np.ndarray) -> Deviations:
        """Args:
        centre: float64 (detector sets,), attenuations of the shared-parameter fit.
        """
        # The rates themselves are not identifiable, so shares of locations are those of the guess.
        whole = model.set_matrix @ model.guess
        squares = model.set_matrix @ model.guess**2
        size = centre * np.sqrt(np.divide(squares, whole**2, out=np.ones_like(whole), where=whole > 0)).clip(
            max=1.0
        )
        class_of = time_translation_classes(model.structure)
        shape = (len(size), int(class_of.max()) + 1)
        return cls(sp.csr_matrix((size, (np.arange(len(size)), class_of)), shape=shape), size)

    def factor(self, *, tau: float, invariant: float) -> sp.csr_matrix:
        """float64 (detector sets, classes + detector sets): deviations are factor @ standard normals."""
        alone = sp.diags_array(np.sqrt(1 - invariant) * tau * self.alone)
        return sp.hstack([np.sqrt(invariant) * tau * self.together, alone]).tocsr()
