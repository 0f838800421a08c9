"""The one reader of detector error models, and their normal form.

normal_form(dem)     NormalForm: what decoders see of a DEM, and what always happens besides
mechanisms(dem)      the reader: every `error` instruction as it stands, in components, loops unrolled
DemTables            the mechanisms as sparse matrices
odd_of_all           probability that an odd number of independent errors happens
Faults               one fault for each set of detectors, as decoders for hypergraphs and matchers see it
gf2                  sparse matrices mod 2
"""

from qec.dem import gf2
from qec.dem.faults import Faults
from qec.dem.mechanisms import Component, Mechanism, mechanisms
from qec.dem.merging import odd_of_all
from qec.dem.normal_form import NormalForm, normal_form
from qec.dem.tables import DemTables, detector_coordinates

__all__ = [
    "Component",
    "DemTables",
    "Faults",
    "Mechanism",
    "NormalForm",
    "detector_coordinates",
    "gf2",
    "mechanisms",
    "normal_form",
    "odd_of_all",
]
