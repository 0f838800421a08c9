"""What shots say and what a circuit says, as one model: geometric means of their probabilities.

Learned rates scatter, each by itself, and say little of errors that one detector alone sees; a circuit's do
not scatter and know nothing of single qubits. They are wrong in different ways, so a mean is nearer to the
truth than either, and that of logarithms fits probabilities that are off by factors. What it gives on a
device is in docs/experiments/23-a-prior-for-rates.md.
"""

from __future__ import annotations

import numpy as np
import stim

from noise_learning.estimators.fit import assemble
from noise_learning.estimators.geometric_mean import geometric_mean
from noise_learning.models.structure import MechanismSymptoms, Structure
from qec.dem import (
    Component,
    Mechanism,
    NormalForm,
    detector_coordinates,
    mechanisms,
    normal_form,
    odd_of_all,
)

__all__ = ["towards_prior"]


def towards_prior(
    learned: stim.DetectorErrorModel, prior: stim.DetectorErrorModel, *, share: float
) -> stim.DetectorErrorModel:
    """Draw learned probabilities towards a prior's: learned^(1 - share) * prior^share for each mechanism.

    Mechanisms are the same if they flip the same detectors and observables; several of one DEM that do count
    as one. What one DEM lacks has no geometric mean and gets the arithmetic one, the other's probability
    times the other's share: Google's p_ij leaves out what its correlations do not show, which is rare, not
    impossible. What always happens (an error above 1/2 is that, and one of 1 - p) is taken from the learned
    DEM, since no shot leaves it in doubt. A DEM does not say which detectors fire half the time, so that an
    error of about 1/2 is drawn like any other; `NoiseFit.towards_prior` knows them and lets them be.

    Args:
        learned: its decompositions and detector coordinates are kept, of equal mechanisms' decompositions
            the one in the fewest components.
        prior: of the same detectors and observables; its decompositions and coordinates count where `learned`
            has none.
        share: of the prior, from 0 (learned) to 1 (the prior).

    Returns:
        A DEM with one error for each mechanism, without blocks, and certain errors on lines of their own.

    Raises:
        ValueError: a share outside [0, 1]; DEMs of other numbers of detectors or observables than each other,
            or without errors.
    """
    _check_same(learned, prior)
    said = normal_form(learned)
    ours, theirs = _by_symptoms(said), _by_symptoms(normal_form(prior))
    for what, of in (("learned DEM", ours), ("prior", theirs)):
        if not of:
            raise ValueError(f"the {what} has no errors; give the DEM of a circuit with noise")
    symptoms = list(dict.fromkeys([*ours, *theirs]))
    p, q = (
        np.array([of[one].probability if one in of else 0.0 for one in symptoms]) for of in (ours, theirs)
    )
    mean = geometric_mean(p, q, share=share)
    kept = np.flatnonzero(mean)
    structure = Structure.of_mechanisms(
        [
            MechanismSymptoms(*symptoms[k], (ours.get(symptoms[k]) or theirs[symptoms[k]]).components)
            for k in kept
        ],
        mean[kept],
        np.zeros(len(kept), dtype=bool),
        num_observables=learned.num_observables,
        coordinates=[
            tuple(one or other)
            for one, other in zip(detector_coordinates(learned), detector_coordinates(prior), strict=True)
        ],
    )
    return said.certain.flattened() + assemble(structure, mean[kept])


def _check_same(learned: stim.DetectorErrorModel, prior: stim.DetectorErrorModel) -> None:
    for what in ("detectors", "observables"):
        one, other = (int(getattr(dem, f"num_{what}")) for dem in (learned, prior))
        if one != other:
            raise ValueError(
                f"the learned DEM has {one} {what} and the prior {other}; give two of one circuit"
            )


def _by_symptoms(form: NormalForm) -> dict[Component, Mechanism]:
    """One mechanism for equal detectors and observables, in the fewest of the suggested components."""
    alike: dict[Component, list[Mechanism]] = {}
    for mechanism in mechanisms(form.exact_dem):
        alike.setdefault(mechanism.symptoms, []).append(mechanism)
    return {
        symptoms: Mechanism(
            odd_of_all(one.probability for one in found),
            min(found, key=lambda one: (len(one.components), -one.probability, one.components)).components,
        )
        for symptoms, found in alike.items()
    }
