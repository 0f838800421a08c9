"""Learned mechanisms as a table, one row per mechanism."""

from __future__ import annotations

import polars as pl

from noise_learning.estimators.fit import NoiseFit
from noise_learning.models.location_classes import has_coordinates, location_keys

__all__ = ["mechanism_frame"]


def mechanism_frame(fit: NoiseFit) -> pl.DataFrame:
    """The mechanisms in the order of the DEM's `error` instructions.

    Columns: p, sigma (one standard error), prior (the probability in the given circuit), assumed (in the
    model that the fit is held against), detectors and observables (lists of indices), detector_set
    (mechanisms of one set are told apart by the prior only; -1 for none) and kind (see
    `noise_learning.models.location_classes.KINDS`; null at the experiment's ends and without coordinates).
    """
    structure = fit.structure
    keys = location_keys(structure) if has_coordinates(structure) else [None] * len(structure.mechanisms)
    return pl.DataFrame(
        {
            "p": fit.p,
            "sigma": fit.sigma,
            "prior": structure.given,
            "assumed": fit.assumed,
            "detectors": [list(m.detectors) for m in structure.mechanisms],
            "observables": [list(m.observables) for m in structure.mechanisms],
            "detector_set": structure.set_of,
            "kind": [None if key is None else key[0] for key in keys],
        },
        schema_overrides={
            "detectors": pl.List(pl.Int64),
            "observables": pl.List(pl.Int64),
            "kind": pl.String,
        },
    )
