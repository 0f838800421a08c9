"""Training a pre-decoder: configuration, batches, the loop, and paired evaluation."""

from predecoder.training.config import TrainConfig, load_config
from predecoder.training.evaluation import (
    DEFAULT_CASES,
    DEFAULT_DECODERS,
    EvaluationCase,
    Noise,
    PairedCounts,
    PairedDecoders,
    PairedEvaluator,
)
from predecoder.training.loop import StepReport, train
from predecoder.training.processes import Processes

__all__ = [
    "DEFAULT_CASES",
    "DEFAULT_DECODERS",
    "EvaluationCase",
    "Noise",
    "PairedCounts",
    "PairedDecoders",
    "PairedEvaluator",
    "Processes",
    "StepReport",
    "TrainConfig",
    "load_config",
    "train",
]
