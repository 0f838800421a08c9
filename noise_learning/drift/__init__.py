"""Noise that changes: a fit that follows it, and how much it changed."""

from noise_learning.drift.block_summary import DriftSummary, summarize_drift
from noise_learning.drift.tracker import NoiseTracker, TrackedNoise, shared_parameter_predictor

__all__ = [
    "DriftSummary",
    "NoiseTracker",
    "TrackedNoise",
    "shared_parameter_predictor",
    "summarize_drift",
]
