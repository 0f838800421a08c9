"""A rotated patch as decoders see it: detectors on a grid, elementary moves, the decoding problem."""

from qec.patch.lattice import LayoutError
from qec.patch.layers import layers_of_detectors, position_of, time_of
from qec.patch.layout import GRID_REVISION, MEMORY, OTHER, DetectorLayout
from qec.patch.moves import MoveSet
from qec.patch.noise_features import NOISE_FEATURES
from qec.patch.problem import DecodingProblem

__all__ = [
    "GRID_REVISION",
    "MEMORY",
    "NOISE_FEATURES",
    "OTHER",
    "DecodingProblem",
    "DetectorLayout",
    "LayoutError",
    "MoveSet",
    "layers_of_detectors",
    "position_of",
    "time_of",
]
