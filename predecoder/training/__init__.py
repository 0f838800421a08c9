"""Training a pre-decoder: configuration, batches, the loop, and paired evaluation."""

from predecoder.training.batches import BatchWorkerDiedError
from predecoder.training.config import (
    ClassLossConfig,
    DataConfig,
    OptimizerConfig,
    StageConfig,
    TrainConfig,
)
from predecoder.training.evaluation import (
    AGAINST_CORRELATED,
    DEFAULT_CASES,
    DEFAULT_DECODERS,
    EvaluationCase,
    Noise,
    PairedCounts,
    PairedDecoders,
    PairedEvaluator,
)
from predecoder.training.fine_tuning import Check, FineTuneConfig, Recording, fine_tune
from predecoder.training.loop import StepReport, train, train_stage
from predecoder.training.processes import Processes
from predecoder.training.reading import load_config
from predecoder.training.recorded import RecordedShots
from predecoder.training.tasks import TaskConfig

__all__ = [
    "AGAINST_CORRELATED",
    "DEFAULT_CASES",
    "DEFAULT_DECODERS",
    "BatchWorkerDiedError",
    "Check",
    "ClassLossConfig",
    "DataConfig",
    "EvaluationCase",
    "FineTuneConfig",
    "Noise",
    "OptimizerConfig",
    "PairedCounts",
    "PairedDecoders",
    "PairedEvaluator",
    "Processes",
    "RecordedShots",
    "Recording",
    "StageConfig",
    "StepReport",
    "TaskConfig",
    "TrainConfig",
    "fine_tune",
    "load_config",
    "train",
    "train_stage",
]
