"""From moments to a probability with an error bar for each mechanism."""

from noise_learning.estimators.closed_form import fit_closed_form
from noise_learning.estimators.fit import NoiseFit, SharedParameters, assemble
from noise_learning.estimators.hybrid import Shrinkage, fit_hybrid
from noise_learning.estimators.learning_data import LearningData
from noise_learning.estimators.model_selection import learn
from noise_learning.estimators.prior import towards_prior
from noise_learning.estimators.round_trend import RoundTrend
from noise_learning.estimators.shared_parameter_fit import fit_shared_parameters, predict_shared_parameters
from noise_learning.estimators.stationary import StationaryNoise, fit_stationary, fit_stationary_jointly
from noise_learning.estimators.unmodelled import UnmodelledTest

__all__ = [
    "LearningData",
    "NoiseFit",
    "RoundTrend",
    "SharedParameters",
    "Shrinkage",
    "StationaryNoise",
    "UnmodelledTest",
    "assemble",
    "fit_closed_form",
    "fit_hybrid",
    "fit_shared_parameters",
    "fit_stationary",
    "fit_stationary_jointly",
    "learn",
    "predict_shared_parameters",
    "towards_prior",
]
