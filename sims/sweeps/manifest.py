"""What a shard was made of, beside its CSV, so that only shards of one sweep are put together."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import sinter

from qec import output_file
from sims.sweeps.blocks import Seeded, Shard
from sims.sweeps.collect import Limits
from sims.sweeps.results_csv import read_results
from sims.sweeps.versions import code_versions

__all__ = ["Manifest", "ManifestError", "check_shards", "merged_manifest", "refuse_twice"]

_ONE_FOR_ALL = ("seed", "block_shots", "limits", "code", "circuits", "tasks")


class ManifestError(ValueError):
    """A CSV's manifest is missing or damaged, or says that the CSV is of another sweep."""


@dataclass(frozen=True)
class Manifest:
    """Of one shard's CSV.

    Attributes:
        seed, block_shots: of all shards.
        shard: such as '2/8'.
        limits: of the whole sweep, not of the shard.
        code: versions of qecpipe, by a hash of its sources, and of what it computes with.
        circuits: sha256 of each circuit and DEM, by strong id.
        tasks: decoder and metadata by strong id, weights' sha256 among it.
    """

    seed: int
    block_shots: int
    shard: str
    limits: dict[str, Any]
    code: dict[str, str]
    circuits: dict[str, str]
    tasks: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, tasks: Sequence[sinter.Task], *, seeded: Seeded, limits: Limits) -> Self:
        """Of tasks that are about to be sampled; `limits` are those of the whole sweep."""
        return cls(
            seed=seeded.seed,
            block_shots=seeded.block_shots,
            shard=str(seeded.shard),
            limits=asdict(limits),
            code=code_versions(),
            circuits={
                task.strong_id(): _hash(f"{task.circuit}\n{task.detector_error_model}") for task in tasks
            },
            tasks={
                task.strong_id(): {"decoder": task.decoder, **_plain(task.json_metadata)} for task in tasks
            },
        )

    @property
    def seeded(self) -> Seeded:
        """Which blocks."""
        return Seeded(self.seed, self.block_shots, Shard.parse(self.shard))

    @property
    def own_limits(self) -> Limits:
        """The shard's part of the limits."""
        return self.seeded.limits(Limits(self.limits["max_shots"], self.limits["max_errors"]))

    @staticmethod
    def path(csv_path: Path) -> Path:
        """Where the manifest of a CSV is."""
        return csv_path.with_suffix(".manifest.json")

    @classmethod
    def read(cls, csv_path: Path) -> Self:
        """That of a CSV. Raises `ManifestError`."""
        path = cls.path(csv_path)
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            raise ManifestError(
                f"{csv_path} has no {path.name} beside it, so it is of no seeded sweep; give --seed to the "
                "sweep, or add CSVs without a seed with: qecpipe plot CSV CSV"
            ) from None
        except (ValueError, TypeError) as error:
            raise ManifestError(
                f"{path} is damaged ({error}); run the shard again in another --out"
            ) from None

    def claim(self, csv_path: Path) -> None:
        """Write it beside a CSV that is about to be; a CSV that is there must be of the same sweep.

        More shots or errors than before may be asked for. Raises `ManifestError`.
        """
        if csv_path.exists() or Manifest.path(csv_path).exists():
            known = Manifest.read(csv_path)
            differs = [n for n in (*_ONE_FOR_ALL, "shard") if n != "limits" and _differ(known, self, n)]
            if differs:
                raise ManifestError(
                    f"{csv_path} was begun with another {differs[0]} ({_said(known, differs[0])}, now "
                    f"{_said(self, differs[0])}); choose another --out"
                )
        self.write(csv_path)

    def write(self, csv_path: Path) -> None:
        """Put it beside a CSV, in place of another."""
        Manifest.path(csv_path).parent.mkdir(parents=True, exist_ok=True)
        with output_file(Manifest.path(csv_path)) as unfinished:
            unfinished.write_text(json.dumps(asdict(self), indent=1) + "\n")

    def require_finished(self, csv_path: Path) -> None:
        """Raise `ManifestError` where the CSV lacks shots of a task."""
        totals, limits = read_results(csv_path), self.own_limits
        for key, task in self.tasks.items():
            shots, errors = (totals[key].shots, totals[key].errors) if key in totals else (0, 0)
            enough = limits.max_errors is not None and errors >= limits.max_errors
            if shots < limits.max_shots and not enough:
                raise ManifestError(
                    f"shard {self.shard} is not finished: {csv_path} has {shots} of {limits.max_shots} shots "
                    f"of {task['decoder']}, task {key[:12]}...; run its sweep again, it goes on from there"
                )


def check_shards(csv_paths: Sequence[Path]) -> list[Manifest]:
    """The manifests of shards that make up one sweep.

    Raises:
        ManifestError: they are of different sweeps, one is there twice, missing or not finished.
    """
    manifests = [Manifest.read(path) for path in csv_paths]
    first, seen = manifests[0], {}
    for path, manifest in zip(csv_paths, manifests, strict=True):
        for name in _ONE_FOR_ALL:
            if _differ(first, manifest, name):
                raise ManifestError(
                    f"{path} has another {name} than {csv_paths[0]} ({_said(manifest, name)}, there "
                    f"{_said(first, name)}); put together shards of one sweep"
                )
        if manifest.shard in seen:
            raise ManifestError(f"shard {manifest.shard} is there twice: {seen[manifest.shard]} and {path}")
        seen[manifest.shard] = path
    parts = {Shard.parse(text) for text in seen}
    missing = sorted({Shard(k, part.of) for part in parts for k in range(1, part.of + 1)} - parts, key=str)
    if missing:
        raise ManifestError(f"shard {missing[0]} is missing; give all of them")
    for path, manifest in zip(csv_paths, manifests, strict=True):
        manifest.require_finished(path)
    return manifests


def merged_manifest(manifests: Sequence[Manifest]) -> Manifest | None:
    """Of all shards together; None where errors ended tasks, so that no first blocks are what was counted."""
    first = manifests[0]
    return None if first.limits["max_errors"] is not None else replace(first, shard="1/1")


def refuse_twice(csv_paths: Sequence[Path]) -> None:
    """Raise `ManifestError` where two CSVs count the same shots: one file twice, or blocks of one sweep."""
    known: list[tuple[Path, Manifest | None]] = []
    for path in csv_paths:
        manifest = Manifest.read(path) if Manifest.path(path).exists() else None
        for other, of_other in known:
            same = path.resolve() == other.resolve()
            if same or (manifest is not None and of_other is not None and _overlap(manifest, of_other)):
                raise ManifestError(f"{other} and {path} count the same shots; give one of them")
        known.append((path, manifest))


def _overlap(a: Manifest, b: Manifest) -> bool:
    """Whether there is a block of a task that both take."""
    one, two = a.seeded.shard, b.seeded.shard
    meet = (one.number - two.number) % math.gcd(one.of, two.of) == 0
    return meet and a.seed == b.seed and bool(a.tasks.keys() & b.tasks.keys())


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(metadata: Any) -> dict[str, Any]:
    return metadata if isinstance(metadata, dict) else {"metadata": metadata}


def _differ(a: Manifest, b: Manifest, name: str) -> bool:
    return json.dumps(getattr(a, name), sort_keys=True) != json.dumps(getattr(b, name), sort_keys=True)


def _said(manifest: Manifest, name: str) -> str:
    """What differs, as short as it can be said."""
    value = getattr(manifest, name)
    if name in ("circuits", "tasks"):
        return f"{len(value)} of hash {_hash(json.dumps(value, sort_keys=True))[:8]}"
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
