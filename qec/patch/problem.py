"""What a decoder of one DEM needs to know of it, made once and handed to everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import stim

from qec.dem import DemTables, NormalForm, normal_form
from qec.patch.layout import DetectorLayout
from qec.patch.moves import MoveSet
from qec.patch.noise_features import noise_features
from qec.patch.schedule import lacks_reset

__all__ = ["DecodingProblem"]


@dataclass(frozen=True, eq=False)
class DecodingProblem:
    """The DEM of a rotated-surface-code memory experiment, as tables, layout, moves and noise features.

    Everything but tables and layout is made when it is first asked for, and kept.

    Attributes:
        normal: the DEM in normal form, from which everything else was made.
        layout: where its detectors stand.
    """

    normal: NormalForm
    layout: DetectorLayout

    @classmethod
    def from_dem(cls, dem: stim.DetectorErrorModel) -> DecodingProblem:
        """Read a decomposed DEM whose detectors have coordinates (x, y, t).

        Raises:
            LayoutError: the detectors do not form such an experiment; the message says why.
        """
        return cls.from_normal_form(normal_form(dem))

    @classmethod
    def from_normal_form(cls, normal: NormalForm, *, backwards: bool = False) -> DecodingProblem:
        """The problem of a DEM that was read before; see `from_dem`.

        With `backwards` the last layer stands first on the grid; detectors keep their numbers. Syndrome
        extraction that runs backwards and is turned by half a turn is syndrome extraction again, so the grid
        of the bulk is the same: a network that is shown it gives a second opinion of a shot.
        """
        return cls(normal, DetectorLayout.from_dem(normal.exact_dem, normal.tables, backwards=backwards))

    @classmethod
    def from_circuit(cls, circuit: stim.Circuit) -> DecodingProblem:
        """Read the circuit's DEM; see `from_dem`."""
        return cls.from_dem(
            circuit.detector_error_model(decompose_errors=True, approximate_disjoint_errors=True)
        )

    @property
    def dem(self) -> stim.DetectorErrorModel:
        """The DEM without what always happens; its mechanisms are those of `tables`, in their order."""
        return self.normal.exact_dem

    @property
    def tables(self) -> DemTables:
        """The mechanisms."""
        return self.normal.tables

    @cached_property
    def moves(self) -> MoveSet:
        """The elementary moves: M and L."""
        return MoveSet.from_layout(self.layout)

    @cached_property
    def noise_features(self) -> np.ndarray:
        """float32 `(8, T, I, J)`: how likely the DEM holds every move to be; see `noise_features`."""
        return noise_features(self.layout, self.moves, self.tables)

    @property
    def distance(self) -> int:
        """Code distance of the patch: the smaller of its two, where they differ."""
        return self.layout.distance

    @cached_property
    def lacks_reset(self) -> bool:
        """Whether ancillas are not reset between rounds, so that wrong results are seen two layers apart."""
        return lacks_reset(self.layout.voxels, self.tables)

    @cached_property
    def peak_density(self) -> float:
        """The largest probability with which a detector fires.

        It is the bulk's, where noise is uniform, whatever the number of rounds.
        """
        return float(self.tables.firing_probabilities().max(initial=0))

    def moves_of_layers(self, cells: Sequence[np.ndarray]) -> tuple[DetectorLayout, MoveSet]:
        """Layout and moves of a few consecutive layers of an experiment of any length on this patch.

        Args:
            cells: per layer int64 `(detectors,)`: where its detectors stand in the flattened (I, J) grid.

        Returns:
            Layout and moves, with detectors numbered layer by layer in the order of `cells`.
        """
        layout = self.layout.with_layers(cells)
        return layout, MoveSet.from_layout(layout)
