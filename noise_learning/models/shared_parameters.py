"""Few parameters for all mechanisms: attenuations a = K theta, K from Stim."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp
import stim

from noise_learning.models.noise_locations import NoiseLocations, Sharing, by_gate_type
from noise_learning.models.structure import Structure, attenuation
from noise_learning.models.time_translations import time_translation_classes
from qec import NOISE_PARAMETERS, Basis, CircuitNoise, Orientation, depolarizing, memory_circuit

_MAX_GUESS = 0.45  # a rate of one half has no finite attenuation
_PROBE = 1e-4  # rate at which one parameter is switched on; attenuations are additive, so any will do


@dataclass(frozen=True, eq=False)
class SharedParameterModel:
    """Mechanism attenuations as a linear function of few parameters.

    Attributes:
        structure: whose mechanisms.
        names: of the parameters.
        matrix: float64 (mechanisms, parameters), K of a = K theta, theta = -ln(1 - 2 q).
        guess: float64 (parameters,), theta of the circuit that the structure came from.
    """

    structure: Structure
    names: tuple[str, ...]
    matrix: sp.csr_matrix
    guess: np.ndarray

    @classmethod
    def of_memory(
        cls,
        *,
        distance: int,
        rounds: int,
        basis: Basis = "x",
        orientation: Orientation = "XV",
        perfect_last_round: bool = False,
        reset: bool = True,
        guess: CircuitNoise | None = None,
    ) -> SharedParameterModel:
        """The 25 parameters of `qec.CircuitNoise` in `qec.memory_circuit`.

        Args:
            guess: where the fit starts, all 25 rates > 0; `depolarizing(0.005)` if not given.

        Raises:
            ValueError: as `qec.memory_circuit`, or a rate of `guess` is 0.
        """

        def circuit(noise: CircuitNoise) -> stim.Circuit:
            return memory_circuit(
                distance=distance,
                rounds=rounds,
                noise=noise,
                basis=basis,
                orientation=orientation,
                perfect_last_round=perfect_last_round,
                reset=reset,
            )

        noise = guess or depolarizing(0.005)
        rates = np.array([getattr(noise, name) for name in NOISE_PARAMETERS])
        if not rates.all():
            name = NOISE_PARAMETERS[int(np.flatnonzero(rates == 0)[0])]
            raise ValueError(f"guess has {name} = 0; give every parameter a rate > 0, only its place counts")
        probes = (circuit(CircuitNoise(**{name: _PROBE})) for name in NOISE_PARAMETERS)
        return cls._build(
            Structure.from_circuit(circuit(noise)), NOISE_PARAMETERS, probes, guess=attenuation(rates)
        )

    @classmethod
    def of_circuit(
        cls, circuit: stim.Circuit, *, share: Sharing = by_gate_type, simplify: bool = True
    ) -> SharedParameterModel:
        """One parameter per label of the circuit's noise locations.

        Locations of one label keep the ratios of their rates in the circuit: the parameter is their mean.

        Args:
            circuit: noisy; its rates are the first guess.
            share: label of a location: `by_gate_type` (the default), `by_location`, or any other.
            simplify: one decomposition per symptoms (`Structure.simplified`), or all that Stim suggests.

        Raises:
            ValueError: no noise, noise of a kind that is not known, or no DEM.
        """
        locations = NoiseLocations(circuit, share=share)
        probes = (locations.only(name, rate=_PROBE) for name in locations.names)
        guess = attenuation(np.minimum(locations.rates, _MAX_GUESS))
        structure = Structure.from_circuit(circuit)
        return cls._build(
            structure.simplified() if simplify else structure, locations.names, probes, guess=guess
        )

    @classmethod
    def of_time_translations(cls, structure: Structure) -> SharedParameterModel:
        """One parameter per set of mechanisms that are time translations of each other.

        It assumes nothing but that noise is the same in all rounds, and so fits a device on which not all
        noise is that of its circuit's locations: leakage, crosstalk. It predicts no other distance.
        """
        class_of = time_translation_classes(structure)
        count = int(class_of.max()) + 1
        mean = np.bincount(class_of, structure.prior_attenuation) / np.bincount(class_of)
        seen = np.flatnonzero(structure.set_of >= 0)
        # Mechanisms of equal detectors, and those without, keep the prior's shares.
        sets = structure.set_of[seen]
        share = attenuation(structure.prior[seen]) / structure.prior_attenuation[sets]
        matrix = sp.csr_matrix((share, (seen, class_of[sets])), shape=(len(structure.mechanisms), count))
        first = {int(o): structure.detector_sets[k] for k, o in reversed(list(enumerate(class_of)))}
        names = tuple("like D" + "*D".join(map(str, first[o])) for o in range(count))
        return cls(structure, names, matrix, mean)

    @classmethod
    def _build(
        cls,
        structure: Structure,
        names: tuple[str, ...],
        probes: Iterable[stim.Circuit],
        *,
        guess: np.ndarray,
    ) -> SharedParameterModel:
        columns = [_column(structure, circuit, name) for name, circuit in zip(names, probes, strict=True)]
        return cls(structure, names, sp.csr_matrix(np.array(columns).T), guess)

    def on(self, structure: Structure) -> SharedParameterModel:
        """The same model for a structure of the same mechanisms, such as `Structure.without` gives."""
        return self if structure is self.structure else replace(self, structure=structure)

    @cached_property
    def set_matrix(self) -> sp.csr_matrix:
        """float64 (detector sets, parameters): attenuations of detector sets."""
        return (self.structure.membership @ self.matrix).tocsr()

    @cached_property
    def equations(self) -> np.ndarray:
        """float64 (subsets, parameters): b = equations @ theta."""
        return (self.structure.parity @ self.set_matrix).toarray()


def _column(structure: Structure, circuit: stim.Circuit, name: str) -> np.ndarray:
    """Attenuations of all mechanisms, per unit of theta, with one parameter on: float64 (mechanisms,)."""
    dem = circuit.detector_error_model(approximate_disjoint_errors=True)
    wanted: dict[tuple[tuple[int, ...], tuple[int, ...]], float] = {}
    try:
        alone = Structure.from_dem(dem)
    except ValueError:  # a parameter that no detector sees
        return np.zeros(len(structure.mechanisms))
    ratios = attenuation(alone.prior) / attenuation(np.array(_PROBE))
    for mechanism, ratio in zip(alone.mechanisms, ratios.tolist(), strict=True):
        wanted[mechanism.detectors, mechanism.observables] = ratio
    column = np.zeros(len(structure.mechanisms))
    for symptoms, value in wanted.items():
        places = structure.by_symptoms.get(symptoms)
        if places is None:
            raise ValueError(
                f"{name} flips detectors {list(symptoms[0])} and observables {list(symptoms[1])}, which no "
                "mechanism of the structure does; build the structure from a circuit with all noise on"
            )
        share = attenuation(structure.prior[places])
        np.put(column, places, value * share / share.sum())
    return column
