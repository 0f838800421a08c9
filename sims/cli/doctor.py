"""`qecpipe doctor`: what is installed here, and from where."""

from __future__ import annotations

from dataclasses import dataclass

from rich.table import Table

from sims.cli.console import make_console
from sims.cli.parse_flags import parse_flags
from sims.doctor.examine import examine

RESUME_HINT = "nothing was changed"
_STYLES = {"ok": None, "note": "yellow", "problem": "bold red"}


@dataclass(frozen=True)
class DoctorConfig:
    """Versions, import paths, instruction sets, GPU, weights and decoders; exit code 1 with a problem."""


def run(arguments: list[str]) -> int:
    """Run the verb; returns 0, or 1 where something is broken."""
    parse_flags(DoctorConfig, "doctor", arguments)
    findings = list(examine())
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
