"""Error per cycle on Google's Sycamore memory, for our decoders beside Google's prediction files.

    python -m scripts.benchmarks.sycamore --out out/sycamore --data ../shared/data/google_sycamore \
        [--weights accurate] [--results docs/results]

Every folder PATCH/rNN holds 50,000 shots of a memory of NN cycles. Shots of even index are there to learn
from: the DEM that Google fitted to their correlations (`pij`), ours (`learned`), and weights that were
fine-tuned on them. `joint` is ours of the other cycles: learned from those of `JOINT_CYCLES` together and
predicted for every number of cycles. `pij+circuit`, `learned+circuit` and `joint+circuit` are geometric means
with the rates of Google's circuit. Shots of odd index are decoded. The error per cycle e is the slope of a
straight line through ln(1 - 2 LER) = const + NN ln(1 - 2 e), weighted by the binomial errors, over the cycles
from 3 on, as in Google's article (doi:10.1038/s41586-022-05434-1). Counts of each folder stay in --out, so
that a killed run goes on where it was.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import stim
import tyro

from global_decoders import decoder_names
from noise_learning import (
    LearningData,
    Moments,
    SharedParameterModel,
    StationaryNoise,
    Structure,
    fit_stationary_jointly,
    learn,
    towards_prior,
)
from predecoder import resolve_weights
from qec import read_shots
from scripts.benchmarks.lines import add_lines, read_lines
from scripts.benchmarks.results import markdown_table, update_results
from sims.decoders import NEURAL, NEURAL_ENSEMBLE, PREDECODER_PREFIX, build_decoder

KEY = ("patch", "decoder", "dem", "weights", "sha256", "policy", "shots", "cycles")
GOOGLE = "Google, "
FIRST_FITTED = 3
PRIOR_SHARE = 0.5
"""Of the circuit's rates in a DEM "+circuit": neither is said to be the better one (experiment 23)."""

JOINT_CYCLES = (3, 7, 9, 13, 15)
"""Numbers of cycles that a DEM `joint` is learned from; all patches have them."""

DemName = Literal["circuit", "pij", "learned", "joint", "pij+circuit", "learned+circuit", "joint+circuit"]

GOOGLES_DEMS = {"circuit": "circuit_detector_error_model.dem", "pij": "pij_from_even_for_odd.dem"}
"""Files of a folder that DEMs are read from; the others are learned."""


@dataclass(frozen=True)
class Flags:
    """Decode the shots of odd index of every folder."""

    out: Path
    data: Path
    patches: tuple[str, ...] = ("d3_3_5", "d3_5_3", "d5_5_5")
    cycles: tuple[int, ...] | None = None
    """Left out: all that are there."""
    decoders: tuple[str, ...] = ("pymatching", "pymatching-correlated", "neural-matching", "neural-ensemble")
    dems: tuple[DemName, ...] = ("circuit", "pij")
    weights: str = "accurate"
    opinions: tuple[str, ...] = ()
    """Of `neural-ensemble`: more weights, which decide about doubtful shots together with the first ones, and
    decoders that are asked besides."""
    shots: int | None = None
    """Of odd index, the first so many of every folder; left out: all 25,000."""
    results: Path | None = None

    def weights_of(self, decoder: str) -> tuple[str, ...]:
        """Of the networks that a decoder consists of."""
        if decoder == NEURAL_ENSEMBLE:
            return (self.weights, *(named for named in self.opinions if named not in decoder_names()))
        return (self.weights,) if decoder in NEURAL or decoder.startswith(PREDECODER_PREFIX) else ()

    def asked_by(self, decoder: str) -> tuple[str, ...]:
        """Decoders without a network that a decoder asks."""
        of_ensemble = tuple(named for named in self.opinions if named in decoder_names())
        return of_ensemble if decoder == NEURAL_ENSEMBLE else ()


@dataclass(frozen=True)
class Counted:
    """Errors of one decoder on one folder."""

    patch: str
    cycles: int
    decoder: str
    dem: str
    weights: str
    """Files, with " + " between them."""
    sha256: str
    """Of each, with a space between them."""
    shots: int
    errors: int
    policy: str = ""
    """Of the network's logits, or what an ensemble is made of; empty without one, and in rows that are older
    than this column."""

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> Counted:
        """Of a row of results, which has more columns."""
        return cls(**{field.name: row[field.name] for field in fields(cls) if field.name in row})

    @property
    def key(self) -> tuple[Any, ...]:
        """What was counted."""
        return tuple(getattr(self, name) for name in KEY)


@dataclass(frozen=True)
class Cycle:
    """An error per cycle and its standard error."""

    error: float
    sigma: float

    @classmethod
    def fitted(cls, counts: Iterable[Counted]) -> Cycle | None:
        """Of counts at several numbers of cycles; None where fewer than two are from `FIRST_FITTED` on.

        Raises:
            ValueError: a decoder is no better than a coin, for which the logarithm has no value.
        """
        used = [c for c in counts if c.cycles >= FIRST_FITTED]
        if len({c.cycles for c in used}) < 2:
            return None
        for c in used:
            if not 0 < 2 * c.errors < c.shots:
                raise ValueError(
                    f"{c.patch}, {c.cycles} cycles, {c.decoder}: {c.errors} errors of {c.shots} shots have "
                    "no ln(1 - 2 LER) with an error; leave these cycles out by --cycles"
                )
        rate = np.array([c.errors / c.shots for c in used])
        shots = np.array([c.shots for c in used])
        weight = (1 - 2 * rate) ** 2 * shots / (4 * rate * (1 - rate))
        x, y = np.array([float(c.cycles) for c in used]), np.log1p(-2 * rate)
        mean = np.average(x, weights=weight)
        spread = float((weight * (x - mean) ** 2).sum())
        slope = float((weight * (x - mean) * y).sum()) / spread
        return cls((1 - math.exp(slope)) / 2, math.exp(slope) / 2 / math.sqrt(spread))


class Shots:
    """One folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.circuit = stim.Circuit.from_file(folder / "circuit_noisy.stim")

    @cached_property
    def detections(self) -> np.ndarray:
        """Bit-packed uint8 `(shots, ceil(detectors / 8))`, LSB first, of all shots."""
        path = self.folder / "detection_events.b8"
        return read_shots(path, format="b8", num_detectors=self.circuit.num_detectors)

    @cached_property
    def structure(self) -> Structure:
        """What can go wrong where."""
        return Structure.from_circuit(self.circuit).simplified()

    def flips(self, name: str) -> np.ndarray:
        """Bool `(shots,)`: the observable, of all shots, or what was predicted of it."""
        flips = read_shots(self.folder / name, format="01", num_observables=1)
        return (flips[:, 0] & 1).astype(bool)

    def dem(self, name: str) -> stim.DetectorErrorModel:
        """One that was learned from the shots of even index, the circuit's, or the mean of two."""
        learned, _, prior = name.partition("+")
        if prior:
            return towards_prior(self.dem(learned), self.dem(prior), share=PRIOR_SHARE)
        if name in GOOGLES_DEMS:
            return stim.DetectorErrorModel.from_file(self.folder / GOOGLES_DEMS[name])
        if name == "joint":
            return _noise_of_patch(self.folder.parent).predict(self.structure).dem()
        model = SharedParameterModel.of_time_translations(self.structure)
        return learn(Moments.from_shots(model.structure.subsets, self.detections[0::2]), model).dem()


@cache
def _noise_of_patch(patch: Path) -> StationaryNoise:
    """Rates that are the same in all rounds, of the shots of even index of `JOINT_CYCLES`."""
    learned_from = [Shots(patch / f"r{cycles:02}") for cycles in JOINT_CYCLES]
    return fit_stationary_jointly(
        [
            LearningData.of(Moments.from_shots(of.structure.subsets, of.detections[0::2]), of.structure)
            for of in learned_from
        ]
    )


def main() -> None:
    """Decodes every folder that is not done, and prints the table."""
    flags = tyro.cli(Flags)
    flags.out.mkdir(parents=True, exist_ok=True)
    log = flags.out / "counts.jsonl"
    done = [Counted(**line) for line in read_lines(log)]
    wanted: list[Counted] = []
    folders = list(_folders(flags))  # what is missing is said before anything is decoded
    if not folders:
        raise SystemExit(f"no folder of {', '.join(flags.patches)} has these --cycles: {flags.cycles}")
    for folder, patch, cycles in folders:
        shots = Shots(folder)
        for new in _of_folder(flags, shots, patch, cycles, done):
            wanted.append(new)
            if new not in done:
                add_lines(log, asdict(new))
                print(
                    f"{patch} r{cycles:02} {new.decoder}, {new.dem}: {new.errors} / {new.shots}", flush=True
                )
    table = [asdict(row) for row in wanted]
    print(f"\n{render(table)}")
    if flags.results is not None:
        print("written:", *update_results(flags.results, "sycamore", table, key=KEY, render=render))


def _folders(flags: Flags) -> Iterator[tuple[Path, str, int]]:
    """Every folder that is wanted, with its patch and cycles; SystemExit for what is not there."""
    if flags.shots is not None and flags.shots < 1:
        raise SystemExit(f"--shots {flags.shots} is no number of shots of each folder; give 1 or more")
    read = {GOOGLES_DEMS[name] for name in "+".join(flags.dems).split("+") if name in GOOGLES_DEMS}
    for patch in flags.patches:
        if not (flags.data / patch).is_dir():
            raise SystemExit(
                f"--data {flags.data} has no folder {patch}; see its README for what belongs there"
            )
        for folder in sorted((flags.data / patch).glob("r*")):
            cycles = int(folder.name[1:])
            if flags.cycles is None or cycles in flags.cycles:
                if missing := [name for name in sorted(read) if not (folder / name).is_file()]:
                    raise SystemExit(f"{folder} has no {missing[0]}; add it, or leave its DEM out of --dems")
                yield folder, patch, cycles


def _of_folder(
    flags: Flags, shots: Shots, patch: str, cycles: int, done: Sequence[Counted]
) -> Iterator[Counted]:
    truth = shots.flips("obs_flips_actual.01")[1::2][: flags.shots]
    for path in sorted(shots.folder.glob("obs_flips_predicted_by_*.01")):
        name = GOOGLE + path.stem.removeprefix("obs_flips_predicted_by_").replace("_", " ")
        errors = int((shots.flips(path.name)[1::2][: flags.shots] != truth).sum())
        yield Counted(patch, cycles, name, "", "", "", len(truth), errors)
    for dem in flags.dems:
        model: stim.DetectorErrorModel | None = None
        for name in flags.decoders:
            weights, asked = flags.weights_of(name), flags.asked_by(name)
            label = ", ".join((name, *asked))
            sha256 = " ".join(resolve_weights(one).sha256 for one in weights)
            first, opinions = weights[:1] or ("default",), weights if len(weights) > 1 else ()
            decoder = build_decoder(name, weights=first[0], opinions=(*opinions, *asked), on_mismatch="warn")
            counted = Counted(
                *(patch, cycles, label, dem, " + ".join(weights), sha256, len(truth)),
                errors=0,
                policy=decoder.policy or "",
            )
            known = next((row for row in done if row.key == counted.key), None)
            if known is not None:
                yield known
                continue
            model = shots.dem(dem) if model is None else model
            predicted = decoder.compiled(model).decode_shots_bit_packed(
                bit_packed_detection_event_data=shots.detections[1::2][: flags.shots]
            )
            errors = int(((predicted[:, 0] & 1).astype(bool) != truth).sum())
            yield replace(counted, errors=errors)


def render(rows: list[dict[str, Any]]) -> str:
    """One row a decoder and number of shots: the errors per cycle of each patch, and their mean at d = 3."""
    counts = [Counted.of_row(row) for row in rows]
    patches = sorted({c.patch for c in counts})
    columns = (
        *("decoder", "DEM", "weights", "policy", "shots of each"),
        *(f"{patch}, % a cycle" for patch in patches),
        "d = 3, mean",
    )
    named: dict[tuple[str, ...], list[Counted]] = {}
    for c in counts:
        weights = zip(c.weights.split(" + "), c.sha256.split(), strict=False)
        known = ", ".join(f"`{file}` {sha256[:8]}" for file, sha256 in weights)
        named.setdefault((c.decoder, c.dem, known, c.policy, f"{c.shots:,}"), []).append(c)
    return markdown_table(columns, (_cells(name, of, patches) for name, of in named.items()))


def _cells(name: tuple[str, ...], counts: list[Counted], patches: Sequence[str]) -> tuple[str, ...]:
    fits = {patch: Cycle.fitted(c for c in counts if c.patch == patch) for patch in patches}
    small = [fit for patch, fit in fits.items() if patch.startswith("d3") and fit is not None]
    mean = None
    if len(small) == sum(patch.startswith("d3") for patch in patches) > 0:
        sigma = math.sqrt(sum(fit.sigma**2 for fit in small)) / len(small)
        mean = Cycle(sum(fit.error for fit in small) / len(small), sigma)
    return (*name, *(_percent(fits[patch]) for patch in patches), _percent(mean))


def _percent(fit: Cycle | None) -> str:
    return "" if fit is None else f"{100 * fit.error:.3f} ± {100 * fit.sigma:.3f}"


if __name__ == "__main__":
    main()
