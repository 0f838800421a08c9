"""Whether learning several numbers of rounds together pays on Google's Sycamore memory, on held-out shots.

    python -m scripts.benchmarks.noise_learning.rounds --out out/rounds \
        --data ../shared/data/google_sycamore [--results docs/results]

Noise is learned from the shots of even index, without labels; those of odd index are decoded with correlated
PyMatching. `joint` is learned from the numbers of rounds of --learn together, and decodes others by
prediction; `single` is learned from the even shots of the number of rounds that is decoded; `p_ij` is
Google's DEM of them; `trend` is `joint` with rates on the straight line over the rounds that the same shots
have. Counts of each number of rounds stay in --out, so that a killed run goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import stim
import tyro

from global_decoders import make_decoder
from noise_learning import (
    LearningData,
    Moments,
    StationaryNoise,
    Structure,
    assemble,
    fit_stationary,
    fit_stationary_jointly,
    probability,
    with_rounds,
)
from noise_learning.estimators.time_classes import set_times
from noise_learning.models.time_translations import time_translation_keys
from qec import read_shots
from scripts.benchmarks.lines import add_lines, read_lines
from scripts.benchmarks.results import markdown_table, write_table

DEMS = ("joint", "trend", "single", "p_ij")
_LEAST_FACTOR, _MOST_FACTOR = 0.3, 3.0  # of a rate on the straight line, beyond which it means nothing


@dataclass(frozen=True)
class Flags:
    """Learn from even shots, decode odd ones."""

    out: Path
    data: Path
    patches: tuple[str, ...] = ("d3_3_5", "d3_5_3", "d5_5_5")
    learn: tuple[int, ...] = (3, 9, 15)
    """Numbers of rounds that are learned from together."""
    decode: tuple[int, ...] = (3, 7, 9, 13, 15, 19, 25)
    shots: int | None = None
    """Of odd index, the first so many; left out: all 25,000."""
    results: Path | None = None


@dataclass(frozen=True)
class Counted:
    """Errors on one number of rounds; pairs are of `joint` and each of the others.

    Attributes:
        errors: by DEM.
        only_joint, only_other: shots that only one of the two DEMs gets wrong, by the other one.
    """

    patch: str
    rounds: int
    learned: tuple[int, ...]
    shots: int
    errors: dict[str, int]
    only_joint: dict[str, int]
    only_other: dict[str, int]


class Patch:
    """The folders of one patch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, rounds: int) -> tuple[Structure, np.ndarray, np.ndarray]:
        """Structure, detections and flips of all shots, bit-packed."""
        folder = self.folder / f"r{rounds:02}"
        circuit = stim.Circuit.from_file(folder / "circuit_noisy.stim")
        detections = read_shots(
            folder / "detection_events.b8", format="b8", num_detectors=circuit.num_detectors
        )
        flips = read_shots(folder / "obs_flips_actual.01", format="01", num_observables=1)
        return Structure.from_circuit(circuit).simplified(), detections, flips

    def data(self, rounds: int) -> LearningData:
        """Of the even shots."""
        structure, detections, _ = self.read(rounds)
        return LearningData.of(Moments.from_shots(structure.subsets, detections[0::2]), structure)

    def p_ij(self, rounds: int) -> stim.DetectorErrorModel:
        """What Google learned from the even shots."""
        return stim.DetectorErrorModel.from_file(self.folder / f"r{rounds:02}" / "pij_from_even_for_odd.dem")


def main() -> None:
    """Decodes what is not done, and prints the table."""
    flags = tyro.cli(Flags)
    flags.out.mkdir(parents=True, exist_ok=True)
    log = flags.out / "counts.jsonl"
    done = [Counted(**{**line, "learned": tuple(line["learned"])}) for line in read_lines(log)]
    rows: list[Counted] = []
    for name in flags.patches:
        patch = Patch(flags.data / name)
        if not patch.folder.is_dir():
            raise SystemExit(f"--data {flags.data} has no folder {name}")
        present = [r for r in flags.decode if (patch.folder / f"r{r:02}").is_dir()]
        missing = [r for r in present if not _known(done, flags, name, r)]
        noise = fit_stationary_jointly([patch.data(r) for r in flags.learn]) if missing else None
        for rounds in present:
            found = _known(done, flags, name, rounds)
            if found is None:
                assert noise is not None
                found = _decoded(flags, patch, rounds, noise)
                add_lines(log, asdict(found))
                print(found, flush=True)
            rows.append(found)
    print(f"\n{render(rows)}")
    if flags.results is not None:
        write_table(flags.results / "noise_learning.md", render(rows))


def _known(done: Iterable[Counted], flags: Flags, patch: str, rounds: int) -> Counted | None:
    of = (patch, rounds, flags.learn)
    alike = (one for one in done if (one.patch, one.rounds, one.learned) == of)
    return next((one for one in alike if flags.shots in (None, one.shots)), None)


def _decoded(flags: Flags, patch: Patch, rounds: int, noise: StationaryNoise) -> Counted:
    structure, detections, flips = patch.read(rounds)
    data = patch.data(rounds)
    if rounds in flags.learn:
        joint = noise.fits[flags.learn.index(rounds)]
    else:
        longest, _, _ = patch.read(max(flags.learn))
        joint = noise.predict(with_rounds(longest, rounds))
    dems = {
        "joint": joint.dem(),
        "trend": on_straight_lines(noise, structure),
        "single": fit_stationary(data, structure).dem(),
        "p_ij": patch.p_ij(rounds),
    }
    odd, truth = detections[1::2][: flags.shots], flips[1::2][: flags.shots]
    wrong = {}
    for name, dem in dems.items():
        decoder = make_decoder("pymatching-correlated").compile_decoder_for_dem(dem=dem)
        found = decoder.decode_shots_bit_packed(bit_packed_detection_event_data=odd)
        wrong[name] = (found != truth).any(axis=1)
    ours = wrong["joint"]
    return Counted(
        *(patch.folder.name, rounds, flags.learn, len(truth)),
        {name: int(of.sum()) for name, of in wrong.items()},
        {name: int((ours & ~wrong[name]).sum()) for name in DEMS[1:]},
        {name: int((wrong[name] & ~ours).sum()) for name in DEMS[1:]},
    )


def on_straight_lines(noise: StationaryNoise, structure: Structure) -> stim.DetectorErrorModel:
    """The DEM of means that change with the round as sets of as many detectors do."""
    a = structure.prior_attenuation.copy()
    for k, (key, time) in enumerate(zip(time_translation_keys(structure), set_times(structure), strict=True)):
        size = len(structure.detector_sets[k])
        mean, trend = noise.means.get(key), noise.trends.get(size)
        if mean is None:
            a[k] *= noise.scale.get(size, 1.0)
        else:
            factor = 1.0 if trend is None else 1 + trend.slope * (time - mean.time)
            a[k] = mean.attenuation * np.clip(factor, _LEAST_FACTOR, _MOST_FACTOR)
    return assemble(structure, np.clip(probability(structure.split(a)), 1e-12, 0.499))


def render(rows: Sequence[Counted]) -> str:
    """A row per number of rounds, and sums of those that were learned from and of those that were not."""
    columns = ("patch", "rounds", "learned from", "shots", *(f"{name}, errors" for name in DEMS))
    pairs = (f"only joint / only {name}" for name in DEMS[1:])
    cells = []
    for patch in dict.fromkeys(row.patch for row in rows):
        of = [row for row in rows if row.patch == patch]
        cells += [_cells(str(row.rounds), row.rounds in row.learned, [row]) for row in of]
        for learned in (True, False):
            alike = [row for row in of if (row.rounds in row.learned) == learned]
            if len(alike) > 1:
                cells.append(_cells("sum", learned, alike))
    return markdown_table((*columns, *pairs), cells)


def _cells(rounds: str, learned: bool, rows: Sequence[Counted]) -> tuple[str, ...]:
    return (
        *(rows[0].patch, rounds, "yes" if learned else "no", f"{sum(row.shots for row in rows):,}"),
        *(f"{sum(row.errors[name] for row in rows):,}" for name in DEMS),
        *(
            f"{sum(row.only_joint[name] for row in rows):,} / {sum(row.only_other[name] for row in rows):,}"
            for name in DEMS[1:]
        ),
    )


if __name__ == "__main__":
    main()
