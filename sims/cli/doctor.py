"""`qecpipe doctor`: what is installed here; or whether shots fit a detector error model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from sims.cli.console import make_console
from sims.cli.files import about, check_inputs
from sims.cli.parse_flags import parse_flags
from sims.cli.shot_flags import OptionalShotFlags
from sims.doctor.finding import Finding

RESUME_HINT = "nothing was changed"
_STYLES = {"ok": None, "note": "yellow", "problem": "bold red"}


@dataclass(frozen=True, kw_only=True)
class DoctorConfig(OptionalShotFlags):
    """Say what is installed here, and from where; exit code 1 with a problem.

    Versions, import paths, instruction sets, GPUs, weights and decoders. With --dem or --circuit that model
    is examined instead: errors that cannot be decoded, its distance; and with --shots whether they fit it
    (densities, chi^2, edges that are missing, logical error rates), and the likeliest mistake if they do not.
    """

    shots: Path | None = None
    """File of detection events, or of raw measurements with --measurements; 50,000 shots are looked at."""
    dem: Path | None = None
    """Detector error model to examine; left out: the circuit's."""


def run(arguments: list[str]) -> int:
    """Run the verb; returns 0, or 1 where something is broken."""
    config = parse_flags(DoctorConfig, "doctor", arguments)
    check_inputs(*config.inputs)
    if config.dem is None and config.circuit is None:
        if config.shots is not None:
            raise ValueError("--shots needs a model to compare them with; add --dem or --circuit")
        from sims.doctor.examine import examine

        return _report(list(examine()))
    return _report(list(_of_data(config)))


def _of_data(config: DoctorConfig) -> Iterator[Finding]:
    from sims.doctor.model import examine_model
    from sims.doctor.shots import examine_shots

    circuit, dem = config.model()
    yield from examine_model(dem)
    if config.shots is not None:
        source = config.source()
        with about(config.shots):
            yield from examine_shots(
                dem,
                source.chunks(circuit, num_detectors=dem.num_detectors, num_observables=dem.num_observables),
            )


def _report(findings: list[Finding]) -> int:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_column(overflow="fold")
    previous = ""
    for finding in findings:
        section = finding.section if finding.section != previous else ""
        previous = finding.section
        mark = "" if finding.level == "ok" else f"{finding.level}: "
        table.add_row(section, finding.name, mark + finding.value, style=_STYLES[finding.level])
    make_console().print(table)
    return int(any(finding.level == "problem" for finding in findings))
