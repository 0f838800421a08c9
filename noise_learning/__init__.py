"""A DEM with error bars from detection statistics: no labels, no assumption on the size of the noise.

Detection events x, moments m_T = E[prod over i in T of (1 - 2 x_i)], b_T = -ln m_T, and for a mechanism
with detector set S the strength a_S = -ln(1 - 2 p_S). Independent mechanisms give linear equations,

    b_T = sum of a_S over the S that share an odd number of detectors with T.

    structure = Structure.from_circuit(circuit)            # what can go wrong where
    moments = Moments.from_shots(structure.subsets, shots)  # bit-packed, streamed; moments add
    fit = fit_closed_form(moments, structure)              # no noise model
    model = TiedModel.of_memory(distance=5, rounds=5)      # or of_circuit: few parameters for all mechanisms
    fit = learn(moments, model)                            # fit_tied, or fit_hybrid where chi^2 asks for it
    fit.dem()                                              # for any decoder

Noise that drifts: `NoiseTracker` refits per block of shots, over a window that it chooses itself.
"""

from noise_learning.blocks import BlockLog, DriftSummary, summarize_drift
from noise_learning.closed_form import fit_closed_form
from noise_learning.drift import NoiseTracker, TrackedNoise, tied_predictor
from noise_learning.fit import NoiseFit, TiedParameters, assemble
from noise_learning.hybrid import Shrinkage, fit_hybrid
from noise_learning.learn import learn
from noise_learning.locations import Location, by_place, by_role
from noise_learning.mechanism_table import mechanism_frame
from noise_learning.moments import Moments
from noise_learning.places import KINDS, Kind, Place, gather_places, has_coordinates
from noise_learning.report import ReportContext, assumed_model, largest_departures, render_report
from noise_learning.stationary import fit_stationary
from noise_learning.structure import Mechanism, Structure, probability, strength
from noise_learning.subsets import Subsets
from noise_learning.tied import fit_tied, predict_tied
from noise_learning.tied_model import TiedModel

__all__ = [
    "KINDS",
    "BlockLog",
    "DriftSummary",
    "Kind",
    "Location",
    "Mechanism",
    "Moments",
    "NoiseFit",
    "NoiseTracker",
    "Place",
    "ReportContext",
    "Shrinkage",
    "Structure",
    "Subsets",
    "TiedModel",
    "TiedParameters",
    "TrackedNoise",
    "assemble",
    "assumed_model",
    "by_place",
    "by_role",
    "fit_closed_form",
    "fit_hybrid",
    "fit_stationary",
    "fit_tied",
    "gather_places",
    "has_coordinates",
    "largest_departures",
    "learn",
    "mechanism_frame",
    "predict_tied",
    "probability",
    "render_report",
    "strength",
    "summarize_drift",
    "tied_predictor",
]
