"""A DEM with error bars from detection statistics: no labels, no assumption on the size of the noise.

Detection events x, moments m_T = E[prod over i in T of (1 - 2 x_i)], b_T = -ln m_T, and for a mechanism
with detector set S the attenuation a_S = -ln(1 - 2 p_S). Independent mechanisms give linear equations,

    b_T = sum of a_S over the S that share an odd number of detectors with T.

    fit = learn_noise(circuit, shots)                       # all of the following in one call

    structure = Structure.from_circuit(circuit)             # what can go wrong where
    moments = Moments.from_shots(structure.subsets, shots)  # bit-packed, streamed; moments add
    fit = fit_closed_form(moments, structure)               # no noise model
    model = SharedParameterModel.of_circuit(circuit)        # or of_memory: few parameters for all mechanisms
    fit = learn(moments, model)                             # the shared-parameter fit, or a fit per mechanism
    fit.dem()                                               # for any decoder

Several numbers of rounds of one patch, whose bulk has its rates in common, and one that was not measured:

    noise = fit_stationary_jointly([LearningData.of(moments, structure), ...])
    noise.fits                                              # one per experiment
    noise.predict(with_rounds(structure, 25)).dem()

Rates of the circuit that were measured by other means, say by benchmarks of its gates, as a second opinion:

    fit.towards_prior(0.5)                                  # of the circuit that was learned with
    towards_prior(learned, prior, share=0.5)                # of two DEMs

Noise that drifts: `NoiseTracker` refits per block of shots, over a window that it chooses itself.

Rooms, each of which knows those before it: `moments` counts, `models` says what can go wrong where,
`estimators` fits, `drift` follows changes, `report` tells people.
"""

from noise_learning.drift import (
    DriftSummary,
    NoiseTracker,
    TrackedNoise,
    shared_parameter_predictor,
    summarize_drift,
)
from noise_learning.estimators import (
    LearningData,
    NoiseFit,
    RoundTrend,
    SharedParameters,
    Shrinkage,
    StationaryNoise,
    UnmodelledTest,
    assemble,
    fit_closed_form,
    fit_hybrid,
    fit_shared_parameters,
    fit_stationary,
    fit_stationary_jointly,
    learn,
    predict_shared_parameters,
    towards_prior,
)
from noise_learning.learn_noise import learn_noise
from noise_learning.models import (
    KINDS,
    Kind,
    Location,
    SharedParameterModel,
    Structure,
    attenuation,
    by_gate_type,
    by_location,
    has_coordinates,
    number_of_rounds,
    probability,
    with_rounds,
)
from noise_learning.moments import BlockLog, Moments, Subsets
from noise_learning.report import (
    LocationClass,
    MeasuredRounds,
    ReportContext,
    assumed_model,
    gather_location_classes,
    largest_deviations,
    mechanism_frame,
    render_report,
    render_rounds_report,
)

__all__ = [
    "KINDS",
    "BlockLog",
    "DriftSummary",
    "Kind",
    "LearningData",
    "Location",
    "LocationClass",
    "MeasuredRounds",
    "Moments",
    "NoiseFit",
    "NoiseTracker",
    "ReportContext",
    "RoundTrend",
    "SharedParameterModel",
    "SharedParameters",
    "Shrinkage",
    "StationaryNoise",
    "Structure",
    "Subsets",
    "TrackedNoise",
    "UnmodelledTest",
    "assemble",
    "assumed_model",
    "attenuation",
    "by_gate_type",
    "by_location",
    "fit_closed_form",
    "fit_hybrid",
    "fit_shared_parameters",
    "fit_stationary",
    "fit_stationary_jointly",
    "gather_location_classes",
    "has_coordinates",
    "largest_deviations",
    "learn",
    "learn_noise",
    "mechanism_frame",
    "number_of_rounds",
    "predict_shared_parameters",
    "probability",
    "render_report",
    "render_rounds_report",
    "shared_parameter_predictor",
    "summarize_drift",
    "towards_prior",
    "with_rounds",
]
