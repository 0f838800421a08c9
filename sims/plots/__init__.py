"""The pictures: logical error rates of a sweep, latency against them, learned noise and its drift."""

from sims.plots.noise import DRIFT_PLOT, LATTICE_PLOT, draw_drift, draw_lattice
from sims.plots.sweep import LER_VS_DISTANCE, LER_VS_P, draw_sweep

__all__ = [
    "DRIFT_PLOT",
    "LATTICE_PLOT",
    "LER_VS_DISTANCE",
    "LER_VS_P",
    "draw_drift",
    "draw_lattice",
    "draw_sweep",
]
