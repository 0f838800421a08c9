"""Decoding with learned against true noise, on simulated shots and on a real device, as a Markdown table.

    python -m scripts.benchmarks.noise_learning.table --out FILE                       # run again to go on
    python -m scripts.benchmarks.noise_learning.table --out FILE --part shared device  # only some parts
    python -m scripts.benchmarks.noise_learning.table --out FILE --variant "random 2"  # only some variants
    python -m scripts.benchmarks.noise_learning.table --out FILE --report  # docs/results/noise_learning.md

A job is one case and one learning seed: it samples shots to learn from, fits, and decodes fresh shots of its
own with the fitted, the true and a uniform (p = 0.005) DEM. Its counts are appended to the file as JSON lines
when it ends; a job that is in the file is not measured again, whatever --test-shots says. Drift has a
benchmark of its own. Parts:

    shared    shared-parameter fit at d = 5: uniform depolarizing 0.005, and two models with 25 random rates
    closed    closed form at d = 5
    far       shared-parameter fit at d = 5 that predicts d = 9 and 13, p = 0.006
    location  per-location log-normal rates, sigma 0.5: what model selection picks, and its parts
    device    Google's distance-3 memory (--data): learn on half the shots, without labels, decode the other
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import stim

from global_decoders import make_decoder
from noise_learning import (
    Moments,
    NoiseFit,
    SharedParameterModel,
    fit_closed_form,
    fit_shared_parameters,
    learn,
    predict_shared_parameters,
)
from qec import NOISE_PARAMETERS, CircuitNoise, LocationVariation, depolarizing, iter_shots, memory_circuit
from scripts.benchmarks.noise_learning.report import DECODERS, Row, tables
from scripts.benchmarks.results import write_table

P = 0.005
PARTS = ("shared", "closed", "location", "far", "device")


@dataclass(frozen=True)
class Job:
    """One line of work: a part, a variant of it, and a learning seed."""

    part: str
    variant: str
    seed: int


class Decoded:
    """Which shots of a test set each DEM gets wrong, by decoder."""

    def __init__(
        self, detections: np.ndarray, flips: np.ndarray, decoders: tuple[str, ...] = DECODERS
    ) -> None:
        self.detections, self.flips, self.decoders = detections, flips, decoders

    def wrong(self, dem: stim.DetectorErrorModel) -> dict[str, np.ndarray]:
        """Per decoder, bool (shots,)."""
        found = {}
        for name in self.decoders:
            decoder = make_decoder(name).compile_decoder_for_dem(dem=dem)
            answer = decoder.decode_shots_bit_packed(bit_packed_detection_event_data=self.detections)
            found[name] = (answer != self.flips).any(axis=1)
        return found


def rows_of(
    job: Job,
    estimator: str,
    shots: int,
    fitted: dict[str, np.ndarray],
    true: dict[str, np.ndarray],
    **extra: object,
) -> list[Row]:
    """Paired counts of one fit against the reference."""
    return [
        Row(
            **asdict(job),
            estimator=estimator,
            shots=shots,
            decoder=name,
            test_shots=len(wrong),
            errors=int(wrong.sum()),
            errors_reference=int(true[name].sum()),
            only_fit=int((wrong & ~true[name]).sum()),
            only_reference=int((~wrong & true[name]).sum()),
            notes=json.dumps(extra),
        )
        for name, wrong in fitted.items()
    ]


def dem_of(circuit: stim.Circuit) -> stim.DetectorErrorModel:
    return circuit.detector_error_model(decompose_errors=True, approximate_disjoint_errors=True)


def sample(circuit: stim.Circuit, shots: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Bit-packed detections and flips, uint8."""
    sampler = circuit.compile_detector_sampler(seed=seed)
    detections, flips = sampler.sample(shots, separate_observables=True, bit_packed=True)
    return detections, flips


def random_noise(seed: int) -> CircuitNoise:
    """25 rates that depart from depolarizing(P) by log-normal factors (sigma 1), with the same sum."""
    base = np.array([getattr(depolarizing(P), name) for name in NOISE_PARAMETERS])
    rates = base * np.exp(np.random.default_rng(seed).standard_normal(len(base)))
    rates *= base.sum() / rates.sum()
    return CircuitNoise(**dict(zip(NOISE_PARAMETERS, rates.tolist(), strict=True)))


class Table:
    """Runs jobs; models and test sizes are shared between them."""

    def __init__(self, *, test_shots: int, data: Path) -> None:
        self.test_shots, self.data = test_shots, data
        self._models: dict[int, SharedParameterModel] = {}
        self._guess: dict[int, stim.DetectorErrorModel] = {}

    def model(self, distance: int = 5) -> SharedParameterModel:
        if distance not in self._models:
            self._models[distance] = SharedParameterModel.of_memory(distance=distance, rounds=distance)
        return self._models[distance]

    def guess(self, distance: int = 5) -> stim.DetectorErrorModel:
        if distance not in self._guess:
            self._guess[distance] = dem_of(
                memory_circuit(distance=distance, rounds=distance, noise=depolarizing(P))
            )
        return self._guess[distance]

    def moments(self, circuit: stim.Circuit, shots: int, seed: int) -> Moments:
        """Of fresh shots at d = 5."""
        return Moments.from_shots(self.model().structure.subsets, sample(circuit, shots, seed)[0])

    def same_distance(
        self,
        job: Job,
        circuit: stim.Circuit,
        counts: tuple[int, ...],
        estimators: dict[str, Callable[[Moments], NoiseFit]],
    ) -> Iterator[Row]:
        """Every estimator at every number of learning shots, and the uniform guess, on one test set."""
        test = Decoded(*sample(circuit, self.test_shots, 10_000 + job.seed))
        true = test.wrong(dem_of(circuit))
        yield from rows_of(job, "uniform guess", 0, test.wrong(self.guess()), true)
        for shots in counts:
            moments = self.moments(circuit, shots, job.seed)
            for name, estimator in estimators.items():
                start = time.perf_counter()
                fit = estimator(moments)
                seconds = time.perf_counter() - start
                extra = {"chi2": fit.chi2_per_row, "chose": fit.estimator, "seconds": seconds}
                yield from rows_of(job, name, shots, test.wrong(fit.dem()), true, **extra)

    def shared(self, job: Job) -> Iterator[Row]:
        noise = depolarizing(P) if job.variant == "uniform" else random_noise(int(job.variant.split()[1]))
        circuit = memory_circuit(distance=5, rounds=5, noise=noise)
        fits = {"shared parameters": lambda moments: fit_shared_parameters(moments, self.model())}
        yield from self.same_distance(job, circuit, (1_000, 10_000, 100_000), fits)

    def closed(self, job: Job) -> Iterator[Row]:
        noise = depolarizing(P) if job.variant == "uniform" else random_noise(int(job.variant.split()[1]))
        circuit = memory_circuit(distance=5, rounds=5, noise=noise)
        fits = {"closed form": lambda moments: fit_closed_form(moments, self.model().structure)}
        yield from self.same_distance(job, circuit, (100_000, 1_000_000), fits)

    def location(self, job: Job) -> Iterator[Row]:
        variation = LocationVariation(0.5, int(job.variant.split()[1]))
        circuit = memory_circuit(distance=5, rounds=5, noise=depolarizing(P), variation=variation)
        fits: dict[str, Callable[[Moments], NoiseFit]] = {
            "model selection": lambda moments: learn(moments, self.model()),
            "shared parameters": lambda moments: fit_shared_parameters(moments, self.model()),
            "closed form": lambda moments: fit_closed_form(moments, self.model().structure),
        }
        yield from self.same_distance(job, circuit, (10_000, 100_000), fits)

    def far(self, job: Job) -> Iterator[Row]:
        distance, noise = int(job.variant.split("=")[1]), depolarizing(0.006)
        learned = fit_shared_parameters(
            self.moments(memory_circuit(distance=5, rounds=5, noise=noise), 100_000, job.seed), self.model()
        )
        assert learned.parameters is not None
        circuit = memory_circuit(distance=distance, rounds=distance, noise=noise)
        shots = self.test_shots // 2 if distance < 13 else self.test_shots * 2 // 5
        test = Decoded(*sample(circuit, shots, 10_000 + job.seed))
        fit = predict_shared_parameters(learned.parameters, self.model(distance))
        yield from rows_of(
            job, "shared parameters", 100_000, test.wrong(fit.dem()), test.wrong(dem_of(circuit))
        )

    def device(self, job: Job) -> Iterator[Row]:
        name, decoders = job.variant.split()
        folder = self.data / name
        circuit = stim.Circuit.from_file(folder / "circuit_noisy.stim")
        shots = np.concatenate(
            list(iter_shots(folder / "detection_events.b8", format="b8", num_detectors=circuit.num_detectors))
        )
        flips = np.concatenate(
            list(iter_shots(folder / "obs_flips_actual.01", format="01", num_observables=1))
        )
        start = time.perf_counter()
        model = SharedParameterModel.of_circuit(circuit)  # as `qecpipe learn-noise` does
        half, other = job.seed, 1 - job.seed  # learn on one, decode the other
        moments = Moments.from_shots(model.structure.subsets, shots[half::2])
        fit = learn(moments, model)
        seconds = time.perf_counter() - start
        google = ("pij_from_even_for_odd.dem", "pij_from_odd_for_even.dem")[half]
        names = ("belief-matching",) if decoders == "belief-matching" else DECODERS
        test = Decoded(shots[other::2], flips[other::2], names)
        reference = test.wrong(stim.DetectorErrorModel.from_file(folder / google))
        extra = {"chi2": fit.chi2_per_row, "chose": fit.estimator, "seconds": seconds}
        yield from rows_of(job, "learned", len(shots) // 2, test.wrong(fit.dem()), reference, **extra)
        circuit_dem = stim.DetectorErrorModel.from_file(folder / "circuit_detector_error_model.dem")
        yield from rows_of(job, "circuit DEM", 0, test.wrong(circuit_dem), reference)


def jobs(seeds: int) -> list[Job]:
    """Every job, the quickest parts first."""
    variants = {
        "shared": ["uniform", "random 1", "random 2"],
        "closed": ["uniform"],
        "location": ["device 1"],
        "far": ["d=9", "d=13"],
    }
    found = [Job(part, v, s) for part, names in variants.items() for v in names for s in range(1, seeds + 1)]
    halves = [
        Job("device", f"{name} {decoder}", half)
        for decoder in ("matching", "belief-matching")
        for name in ("r05", "r11")
        for half in (0, 1)
    ]
    return found + halves


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--report", type=Path, nargs="?", const=Path("docs/results/noise_learning.md"))
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--variant", nargs="+", help="such as 'random 2', 'd=13', 'r05 matching'")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--test-shots", type=int, default=100_000)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/google_sycamore_d3"))
    options = parser.parse_args()
    known = sorted({job.variant for job in jobs(1) if job.part in options.part})
    if unknown := sorted(set(options.variant or ()) - set(known)):
        parser.error(f"--variant {unknown[0]!r} is none of {', '.join(map(repr, known))}")

    lines = options.out.read_text().splitlines() if options.out.exists() else []
    rows = [Row(**json.loads(line)) for line in lines]
    if options.report:
        if not rows:
            parser.error(f"{options.out} has no measurements to report")
        for table in tables(rows):
            write_table(options.report, table)
        return
    done = {Job(row.part, row.variant, row.seed) for row in rows}
    table = Table(test_shots=options.test_shots, data=options.data)
    wanted = options.variant or known
    waiting = [
        job
        for job in jobs(options.seeds)
        if job.part in options.part and job.variant in wanted and job not in done
    ]
    for number, job in enumerate(waiting, 1):
        start = time.perf_counter()
        found = list(getattr(table, job.part)(job))
        with options.out.open("a") as file:
            file.writelines(json.dumps(asdict(row)) + "\n" for row in found)
        print(f"{number}/{len(waiting)} {job} {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
