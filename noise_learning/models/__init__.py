"""What can go wrong where: mechanisms, noise locations of a circuit, and parameters that mechanisms share."""

from noise_learning.models.location_classes import KINDS, Kind, has_coordinates, location_keys
from noise_learning.models.noise_locations import Location, by_gate_type, by_location
from noise_learning.models.other_rounds import number_of_rounds, with_rounds
from noise_learning.models.shared_parameters import SharedParameterModel
from noise_learning.models.structure import Structure, attenuation, probability
from noise_learning.models.time_translations import time_translation_classes

__all__ = [
    "KINDS",
    "Kind",
    "Location",
    "SharedParameterModel",
    "Structure",
    "attenuation",
    "by_gate_type",
    "by_location",
    "has_coordinates",
    "location_keys",
    "number_of_rounds",
    "probability",
    "time_translation_classes",
    "with_rounds",
]
