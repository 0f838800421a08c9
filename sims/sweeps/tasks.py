"""The circuits of a sweep and sinter's tasks for them."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sinter
import stim

from qec import CircuitNoise, depolarizing, load_noise, memory_circuit, si1000, stim_memory_circuit
from sims.decoders import NamedDecoder
from sims.sweeps.kept import GAP

Basis = Literal["x", "z"]
Orientation = Literal["XV", "XH", "ZV", "ZH"]
Rounds = int | Literal["d"]
DEFAULT_P = (0.004, 0.006, 0.008)
STIM_NOISE = "uniform-stim"
_NOISE_AT_P = {"depolarizing": depolarizing, "si1000": si1000}


@dataclass(frozen=True)
class CircuitFamily:
    """Memory circuits over every combination of `distance`, `p` and `basis`.

    A TOML file of noise leaves nothing for `p` to say; its two-qubit error rate stands for p in
    results. Verbs inherit these fields as their flags.
    """

    distance: tuple[int, ...] = (3, 5, 7)
    """Code distances, even or odd, at least 2."""
    rounds: Rounds = "d"
    """Rounds of every circuit: a number, or d for as many as the distance."""
    p: tuple[float, ...] = ()
    """Physical error rates in [0, 0.5); left out: 0.004 0.006 0.008."""
    basis: tuple[Basis, ...] = ("x", "z")
    """Bases of the logical qubit that is kept."""
    orientation: Orientation = "XV"
    """Type of the patch's upper-left ancilla and the side of its first boundary ancilla."""
    noise: str = "depolarizing"
    """Noise of the circuits: depolarizing, si1000, uniform-stim (Stim's generated circuits), or a TOML file
    with 25 rates."""
    perfect_last_round: bool = False
    """Leave noise out of the last round and the final measurement, as the reference paper counts them."""
    reset: bool = True
    """Reset ancillas between rounds; --no-reset: detectors compare rounds t and t - 2."""

    @property
    def noise_file(self) -> Path | None:
        """The file that `noise` names, if it names one."""
        return Path(self.noise) if self.noise.endswith(".toml") else None

    def circuits(self) -> Iterator[tuple[dict[str, Any], stim.Circuit]]:
        """Each circuit with the `json_metadata` that describes it, small distances first."""
        for flag, values in (("--distance", self.distance), ("--basis", self.basis)):
            if not values:
                raise ValueError(f"{flag} has no value; give at least one")
        points = self._noise_points()
        noise_name = self._noise_name(points)
        for distance, (p, noise), basis in itertools.product(
            sorted(set(self.distance)), points, dict.fromkeys(self.basis)
        ):
            rounds = distance if self.rounds == "d" else self.rounds
            if noise is None:
                circuit = stim_memory_circuit(distance=distance, rounds=rounds, basis=basis, p=p)
            else:
                circuit = memory_circuit(
                    distance=distance,
                    rounds=rounds,
                    basis=basis,
                    noise=noise,
                    orientation=self.orientation,
                    perfect_last_round=self.perfect_last_round,
                    reset=self.reset,
                )
            metadata = {
                "basis": basis,
                "d": distance,
                "noise": noise_name,
                "orientation": "stim" if noise is None else self.orientation,
                "p": p,
                "rounds": rounds,
            }
            # What is as ever is not named: rows of older sweeps stay the same tasks.
            unusual = {"perfect_last_round": True} if self.perfect_last_round else {}
            yield metadata | unusual | ({} if self.reset else {"reset": False}), circuit

    def _noise_name(self, points: Sequence[tuple[float, CircuitNoise | None]]) -> str:
        """Name in results; a file's name alone would mix what it held before an edit and after."""
        if self.noise in _NOISE_AT_P or self.noise == STIM_NOISE:
            return self.noise
        ((_, rates),) = points
        return f"file:{Path(self.noise).name}#{hashlib.sha256(repr(rates).encode()).hexdigest()[:8]}"

    def _noise_points(self) -> list[tuple[float, CircuitNoise | None]]:
        """(p, noise model) pairs; None stands for Stim's generated circuits."""
        ps = sorted(set(self.p or DEFAULT_P))
        if self.noise == STIM_NOISE:
            for flag, given in (
                ("--perfect-last-round", self.perfect_last_round),
                ("--no-reset", not self.reset),
            ):
                if given:
                    raise ValueError(f"{flag} has no meaning with --noise {STIM_NOISE}; leave it out")
            return [(p, None) for p in ps]
        if self.noise in _NOISE_AT_P:
            return [(p, _NOISE_AT_P[self.noise](p)) for p in ps]
        if not self.noise.endswith(".toml"):
            raise ValueError(
                f"unknown noise {self.noise!r}; choose {', '.join(_NOISE_AT_P)}, {STIM_NOISE} or a .toml "
                "file with the 25 rates"
            )
        if self.p:
            raise ValueError(
                f"--p {' '.join(map(str, self.p))} has no meaning with --noise {self.noise}: the file gives "
                "every rate; leave --p out"
            )
        noise = load_noise(Path(self.noise))
        return [(round(sum(noise.cnot), 12), noise)]


def decoder_dem(circuit: stim.Circuit) -> stim.DetectorErrorModel:
    """The detector error model that decoders are given: decomposed, disjoint channels as independent ones.

    A circuit whose errors do not decompose into edges (a color code, say) gives its undecomposed
    model: decoders that take hyperedges use it, matching decoders and pre-decoders refuse it.
    """
    try:
        return circuit.detector_error_model(decompose_errors=True, approximate_disjoint_errors=True)
    except ValueError:
        return circuit.detector_error_model(approximate_disjoint_errors=True)


def sweep_tasks(
    family: CircuitFamily, decoders: Sequence[NamedDecoder], *, with_gaps: bool = False
) -> list[sinter.Task]:
    """One task per circuit and decoder, the circuit's DEM derived once.

    Everything that may tell two results apart is in `json_metadata`, a network's sha256 and device
    included, so that sinter's strong id keeps them in different rows. Tasks `with_gaps` are others than those
    without: what they count, and the time they take, differs.
    """
    tasks = []
    gaps = {GAP: True} if with_gaps else {}
    for metadata, circuit in family.circuits():
        dem = decoder_dem(circuit)
        tasks += [
            sinter.Task(
                circuit=circuit,
                detector_error_model=dem,
                decoder=named.name,
                json_metadata={**metadata, **named.identity, **gaps},
            )
            for named in decoders
        ]
    return tasks
