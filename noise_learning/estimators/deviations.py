"""How mechanisms may depart from the tied fit: by how much, and which of them together.

A mechanism that many locations feed departs less, relatively, than one that a single location does; and
a location that is worse than its like is so in every round. So the departure of detector set S is
delta_S = d_S (sqrt(w) u_orbit(S) + sqrt(1 - w) v_S), with u and v standard normal, d_S = tau a_S /
sqrt(n_S), n_S the number of locations behind S, and an orbit the sets that are time translations of each
other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from noise_learning.orbits import time_orbits
from noise_learning.tied_model import TiedModel


@dataclass(frozen=True, eq=False)
class Departures:
    """Departures of tau = 1.

    Attributes:
        together: float64 (detector sets, orbits), d_S where a set is in the orbit.
        alone: float64 (detector sets,), d_S.
    """

    together: sp.csr_matrix
    alone: np.ndarray

    @classmethod
    def of(cls, model: TiedModel, centre: np.ndarray) -> Departures:
        """Args:
        centre: float64 (detector sets,), strengths of the tied fit.
        """
        # The rates themselves are not identifiable, so shares of locations are those of the guess.
        whole = model.set_matrix @ model.guess
        squares = model.set_matrix @ model.guess**2
        size = centre * np.sqrt(np.divide(squares, whole**2, out=np.ones_like(whole), where=whole > 0)).clip(
            max=1.0
        )
        orbit = time_orbits(model.structure)
        shape = (len(size), int(orbit.max()) + 1)
        return cls(sp.csr_matrix((size, (np.arange(len(size)), orbit)), shape=shape), size)

    def factor(self, *, tau: float, invariant: float) -> sp.csr_matrix:
        """float64 (detector sets, orbits + detector sets): departures are factor @ standard normals."""
        alone = sp.diags_array(np.sqrt(1 - invariant) * tau * self.alone)
        return sp.hstack([np.sqrt(invariant) * tau * self.together, alone]).tocsr()
