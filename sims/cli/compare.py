"""`qecpipe compare`: decoders and files of predictions on the same shots."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import stim
import tyro
from rich.table import Table

from qec import SHOT_FORMATS, ShotFileError, ShotFormat, iter_shots, output_file
from sims.cli.console import make_console
from sims.cli.files import about, check_inputs, check_output_file
from sims.cli.network_flags import NetworkFlags
from sims.cli.options import weights_file
from sims.cli.parse_flags import parse_flags
from sims.cli.shot_flags import ShotFlags
from sims.cli.shots_progress import shots_progress
from sims.paired import Comparison, Predict, compare, predict_with
from sims.shot_files.source import CHUNK_SHOTS
from sims.statistics import ENOUGH_ERRORS, INTERVAL_NAME, error_rate

RESUME_HINT = "nothing was written; run the same command again"


@dataclass(frozen=True, kw_only=True)
class CompareConfig(ShotFlags, NetworkFlags):
    """Compare decoders, or files of predictions, on the same shots: who is wrong where.

    With --obs, --append-observables or --measurements, the observables are known: logical error rates (LER),
    discordant shots of every two, and what an oracle of all would have are printed; else only how often they
    agree.
    """

    decoder: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Two or more: names of decoders, as --decoder of the verb decode takes them, or files of predicted
    observable flips, whose suffix is their format (predictions.01, .b8, ...)."""
    out: Path | None = None
    """JSON file for all counts; left out: none is written."""


def run(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    config = parse_flags(CompareConfig, "compare", arguments)
    files = {name: Path(name) for name in config.decoder if _format_of(name) is not None}
    check_inputs(*config.inputs, config.weights_input, *files.values())
    if config.out is not None:
        inputs = (*config.inputs, weights_file(config.weights), *files.values())
        check_output_file(config.out, inputs=inputs)
    repeated = [name for k, name in enumerate(config.decoder) if name in config.decoder[:k]]
    if repeated:
        raise ValueError(f"{repeated[0]} is named twice; compare different decoders")
    config.check_opinions(config.decoder)
    console = make_console()
    source = config.source()
    circuit, dem = config.model()
    with ExitStack() as ends:
        predictors = _predictors(config, files, dem, ends)
        with shots_progress(console, "compared") as compared, about(config.shots):
            found = compare(
                source.chunks(circuit, num_detectors=dem.num_detectors, num_observables=dem.num_observables),
                predictors,
                on_chunk=lambda so_far: compared(so_far.shots),
            )
            for predictions in predictors.values():
                if isinstance(predictions, _Predictions):
                    predictions.require_end()
    for part in report(found, files=files):
        console.print(part)
    if config.out is not None:
        _write(found, config.out)
        console.print(f"counts: {config.out}")
    return 0


def _predictors(
    config: CompareConfig, files: dict[str, Path], dem: stim.DetectorErrorModel, ends: ExitStack
) -> dict[str, Predict]:
    """What is compared, by the names of the flags; files are closed at the end of `ends`."""
    predictors: dict[str, Predict] = {}
    for name in config.decoder:
        if name in files:
            predictions = _Predictions(files[name], config.shots, num_observables=dem.num_observables)
            predictors[name] = predictions
            ends.callback(predictions.close)
        else:
            named = config.build(name)
            predictors[name] = predict_with(named.compiled(dem))
            config.say_choices([named])
    return predictors


def _format_of(name: str) -> ShotFormat | None:
    suffix = Path(name).suffix.removeprefix(".")
    return suffix if suffix in SHOT_FORMATS else None  # pyright: ignore[reportReturnType]


class _Predictions:
    """A file of predictions that is read along with the shots, as many at a time."""

    def __init__(self, path: Path, shots: Path, *, num_observables: int) -> None:
        self._path, self._shots, self._read = path, shots, 0
        self._chunks: Iterator[np.ndarray] = iter_shots(
            path,
            format=_format_of(str(path)) or "01",
            num_observables=num_observables,
            chunk_shots=CHUNK_SHOTS,
        )

    def __call__(self, packed: np.ndarray) -> np.ndarray:
        found = next(self._chunks, None)
        if found is not None and len(found) > len(packed):
            raise self._too_many(len(packed))
        self._read += 0 if found is None else len(found)
        if found is None or len(found) < len(packed):
            raise ShotFileError(
                f"{self._path} ends after {self._read} predictions, and {self._shots} has more shots; give "
                "predictions of these shots"
            )
        return found

    def require_end(self) -> None:
        """Raise ShotFileError where there are more predictions than shots."""
        if next(self._chunks, None) is not None:
            raise self._too_many(0)

    def _too_many(self, shots: int) -> ShotFileError:
        return ShotFileError(
            f"{self._shots} ends after {self._read + shots} shots, and {self._path} has more predictions; "
            "give predictions of these shots"
        )

    def close(self) -> None:
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()


def report(found: Comparison, *, files: dict[str, Path] | None = None) -> Iterator[Table | str]:
    """What is printed: tables, and sentences between them."""
    yield f"{found.shots:,} shots"
    if found.judged:
        yield _rates(found, files or {})
        yield _pairs(found)
        yield (
            f"all {len(found.names)} wrong: {_rate(found.all_wrong, found.judged)}, what an oracle has that "
            "picks one that is right wherever there is one\n"
            f"most of them wrong: {_rate(found.majority_wrong, found.judged)}, what their majority has"
        )
    else:
        yield "no observables given (--obs, --append-observables): who is right is unknown"
    yield _agreement(found)


def _rates(found: Comparison, files: dict[str, Path]) -> Table:
    table = Table(title=f"Logical error rates (LER), intervals: {INTERVAL_NAME}", title_justify="left")
    table.add_column("decoder", overflow="fold")
    for heading in ("errors", "LER", "µs/shot"):
        table.add_column(heading, justify="right")
    for name, wrong, seconds in zip(found.names, found.wrong.tolist(), found.seconds, strict=True):
        microseconds = "-" if name in files else f"{1e6 * seconds / found.shots:.3g}"
        table.add_row(name, f"{wrong:,}", _rate(wrong, found.judged), microseconds)
    return table


def _pairs(found: Comparison) -> Table:
    table = Table(
        title="Discordant shots, on which one alone is wrong",
        caption=f"second / first: 95% interval. p: McNemar's exact test. *: under {ENOUGH_ERRORS} discordant "
        "shots, a hint and not a result.",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("first", overflow="fold")
    table.add_column("second", overflow="fold")
    for heading in ("only first wrong", "only second wrong", "second / first", "p"):
        table.add_column(heading, justify="right")
    for pair in found.pairs():
        ratio = "-"
        if pair.ratio is not None:
            few = "*" if pair.only_first + pair.only_second < ENOUGH_ERRORS else ""
            ratio = f"{pair.ratio.best:.2f} [{pair.ratio.low:.2f}, {pair.ratio.high:.2f}]{few}"
        counts = (f"{pair.only_first:,}", f"{pair.only_second:,}")
        table.add_row(pair.first, pair.second, *counts, ratio, f"{pair.p_value:.2g}")
    return table


def _agreement(found: Comparison) -> Table:
    table = Table(title="Shots with the same prediction, %", title_justify="left")
    table.add_column("", overflow="fold")
    for number, _ in enumerate(found.names, start=1):
        table.add_column(f"({number})", justify="right")
    for number, (name, row) in enumerate(zip(found.names, found.agreement(), strict=True), start=1):
        table.add_row(f"({number}) {name}", *(f"{100 * share:.3f}" for share in row))
    return table


def _rate(errors: int, shots: int) -> str:
    rate = error_rate(errors, shots)
    return f"{rate.best:.4g} [{rate.low:.4g}, {rate.high:.4g}]"


def _write(found: Comparison, path: Path) -> None:
    wrong_together = {
        " + ".join(name for k, name in enumerate(found.names) if pattern >> k & 1) or "none": int(count)
        for pattern, count in enumerate(found.patterns)
        if count
    }
    content = {
        "decoders": list(found.names),
        "shots": found.shots,
        "judged": found.judged,
        "errors": found.wrong.tolist(),
        "wrong_together": wrong_together,
        "differing": found.differing.tolist(),
        "seconds": found.seconds.tolist(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with output_file(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=2) + "\n")
