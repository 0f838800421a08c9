"""What every verb prints arrives as it is."""

from __future__ import annotations

import pytest
from rich.table import Table

from sims.cli.console import make_console


def test_brackets_are_no_styles(capsys: pytest.CaptureFixture[str]) -> None:
    """`doctor` once told to install 'qecpipe' where it meant 'qecpipe[service]'."""
    table = Table("[title]")
    table.add_row("pip install 'qecpipe[service]'")
    make_console().print(table)
    make_console().print("out/[bold]/x.csv")
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("[title]", "'qecpipe[service]'", "out/[bold]/x.csv"))
