"""`qecpipe decode`: decode a file of measurements or detection events."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import sinter
import stim

from global_decoders import NoGapError, calibrate_gaps, require_gap
from qec import ShotFormat
from sims.cli.console import make_console
from sims.cli.files import about, check_inputs, check_output_file, shot_format
from sims.cli.network_flags import NetworkFlags
from sims.cli.options import weights_file
from sims.cli.parse_flags import parse_flags
from sims.cli.shot_flags import ShotFlags
from sims.cli.shots_progress import shots_progress
from sims.paired import DecodeCounts, check_gap_file, decode_file
from sims.statistics import INTERVAL_NAME, error_rate

RESUME_HINT = "no predictions were written; run the same command again"


@dataclass(frozen=True, kw_only=True)
class DecodeConfig(ShotFlags, NetworkFlags):
    """Decode shots from anywhere: detection events or raw measurements, in any of Stim's formats.

    Formats that are left out are taken from the file's suffix. With --obs, --append-observables or
    --measurements, the observables are known and the logical error rate (LER) is printed.
    """

    decoder: str = "pymatching"
    """Name of the decoder; predecoder+NAME puts the network before any of them, and
    neural-matching matches on the network's logits; neural-ensemble asks for second opinions besides;
    cascade:FIRST,SECOND@1% hands the per cent of shots that FIRST doubts most to SECOND."""
    versus: str | None = None
    """Name of a second decoder for the same shots: on how many of them is only one of the two wrong."""
    out: Path | None = None
    """File for the predicted observable flips; appears when it is complete."""
    out_format: ShotFormat | None = None
    """Format of --out; left out: that of its suffix."""
    confidence: Path | None = None
    """File for how sure each prediction is (.npy or .csv by its suffix): float32, one row for each shot, one
    column for each observable. A gap of g nats says that the prediction is wrong with probability
    1 / (1 + exp(g))."""
    calibrate: int | None = None
    """With --confidence: shots that are simulated from the DEM first, such as 50000 (ten times as many where
    errors are rare, of which few are decoded); gaps are put on the straight line that makes them log-odds on
    those shots. Predictions and the order of gaps stay."""


def run(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    config = parse_flags(DecodeConfig, "decode", arguments)
    check_inputs(*config.inputs, config.weights_input)
    if config.calibrate is not None:
        _check_calibrate(config)
    console = make_console()
    source = config.source()
    inputs = (*config.inputs, weights_file(config.weights))
    if config.out is not None:
        check_output_file(config.out, inputs=inputs)
    if config.confidence is not None:
        check_gap_file(config.confidence)
        check_output_file(config.confidence, flag="--confidence", inputs=(*inputs, config.out))
    out_format = shot_format(config.out, config.out_format, "--out-format") if config.out else "01"
    circuit, dem = config.model()
    names = [name for name in (config.decoder, config.versus) if name is not None]
    config.check_opinions(names)
    decoders = {name: config.build(name) for name in names}
    compiled = {name: named.compiled(dem) for name, named in decoders.items()}
    config.say_choices(list(decoders.values()))
    if config.confidence is not None:
        _require_gap(compiled[config.decoder], config.decoder, dem)
    if config.calibrate is not None:
        with console.status("calibrating gaps") if console.is_terminal else nullcontext():
            calibrated = calibrate_gaps(compiled[config.decoder], dem, shots=config.calibrate)
        compiled[config.decoder] = calibrated
        for k, calibration in enumerate(calibrated.calibrations):
            console.print(f"log-odds of observable {k}: {calibration}")
    with shots_progress(console, "decoded") as decoded, about(config.shots):
        counts = decode_file(
            source.chunks(circuit, num_detectors=dem.num_detectors, num_observables=dem.num_observables),
            compiled[config.decoder],
            num_observables=dem.num_observables,
            versus=None if config.versus is None else compiled[config.versus],
            out=config.out,
            out_format=out_format,
            confidence=config.confidence,
            on_chunk=lambda so_far: decoded(so_far.shots),
        )
    for line in _report(counts, config):
        console.print(line)
    return 0


def _check_calibrate(config: DecodeConfig) -> None:
    if config.confidence is None:
        raise ValueError("--calibrate changes nothing but gaps; add --confidence FILE")
    if config.calibrate is not None and config.calibrate < 1:
        raise ValueError(f"--calibrate {config.calibrate} is no number of shots; give 1 or more")


def _require_gap(compiled: sinter.CompiledDecoder, name: str, dem: stim.DetectorErrorModel) -> None:
    try:
        require_gap(compiled, num_detectors=dem.num_detectors)
    except NoGapError as error:
        raise NoGapError(f"--confidence with --decoder {name}: {error}") from error


def _report(counts: DecodeCounts, config: DecodeConfig) -> list[str]:
    lines = [f"{counts.shots:,} shots decoded with {config.decoder}"]
    if config.out is not None:
        lines.append(f"predictions: {config.out}")
    if config.confidence is not None:
        lines.append(f"confidence: {config.confidence}")
        lines.append(f"LER if the gaps are right: {counts.expected_wrong / counts.shots:.4g}")
    if counts.judged == 0:
        return [
            *lines,
            "no observables given (--obs, --append-observables): the logical error rate is unknown",
        ]
    lines.append(f"LER {_rate(counts.wrong, counts.judged)}")
    rivals = [
        ("no decoding", counts.nothing_wrong, counts.only_nothing_wrong, counts.only_this_wrong_of_nothing)
    ]
    if config.versus is not None:
        rivals.append(
            (config.versus, counts.versus_wrong, counts.only_versus_wrong, counts.only_this_wrong_of_versus)
        )
    for name, wrong, only_it, only_this in rivals:
        lines.append(f"{name}: LER {_rate(wrong, counts.judged)}")
        lines.append(f"  only {name} wrong: {only_it:,} shots; only {config.decoder} wrong: {only_this:,}")
    return lines


def _rate(errors: int, shots: int) -> str:
    rate = error_rate(errors, shots)
    return f"{rate.best:.4g} [{rate.low:.4g}, {rate.high:.4g}] ({errors:,} of {shots:,}, {INTERVAL_NAME})"
