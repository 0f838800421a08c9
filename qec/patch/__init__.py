"""A rotated patch as decoders see it: detectors on a grid, elementary moves, the decoding problem."""

from qec.patch.lattice import LayoutError
from qec.patch.layout import GRID_REVISION, MEMORY, OTHER, DetectorLayout
from qec.patch.moves import MoveSet

__all__ = ["GRID_REVISION", "MEMORY", "OTHER", "DetectorLayout", "LayoutError", "MoveSet"]
