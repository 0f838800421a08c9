"""The code and its physics: circuits, noise models, layouts, DEM tables, shot files and output files."""

from qec.circuits import (
    BASES,
    NOISE_PARAMETERS,
    ORIENTATIONS,
    Basis,
    CircuitNoise,
    LocationVariation,
    Orientation,
    depolarizing,
    dump_noise,
    load_noise,
    memory_circuit,
    si1000,
    stim_memory_circuit,
)
from qec.dem_tables import DemTables, detector_coordinates
from qec.output_file import OutputFileError, naming, output_file, refuse_inputs
from qec.patch import GRID_REVISION, NOISE_FEATURES, DecodingProblem, DetectorLayout, LayoutError, MoveSet
from qec.shots import (
    SHOT_FORMATS,
    ShotFileError,
    ShotFormat,
    detections_from_measurements,
    iter_shots,
    write_shots,
)

__all__ = [
    "BASES",
    "GRID_REVISION",
    "NOISE_FEATURES",
    "NOISE_PARAMETERS",
    "ORIENTATIONS",
    "SHOT_FORMATS",
    "Basis",
    "CircuitNoise",
    "DecodingProblem",
    "DemTables",
    "DetectorLayout",
    "LayoutError",
    "LocationVariation",
    "MoveSet",
    "Orientation",
    "OutputFileError",
    "ShotFileError",
    "ShotFormat",
    "depolarizing",
    "detections_from_measurements",
    "detector_coordinates",
    "dump_noise",
    "iter_shots",
    "load_noise",
    "memory_circuit",
    "naming",
    "output_file",
    "refuse_inputs",
    "si1000",
    "stim_memory_circuit",
    "write_shots",
]
