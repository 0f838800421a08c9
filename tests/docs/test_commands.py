"""Every `qecpipe VERB ...` of README and docs has a verb, and flags, that there are."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import re
from pathlib import Path

import pytest

from sims.cli import VERBS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "scripts/gpu/README.md")),
    # What was tried keeps the words of its day.
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page.parent.name != "experiments"),
]
_COMMAND = re.compile(r"(?<![\w/'])qecpipe (?:--traceback )?(?P<verb>[a-z][a-z-]+)(?P<rest>[^`\n#|;:]*)")


@functools.cache
def _flags(verb: str) -> set[str]:
    module = importlib.import_module(f"sims.cli.{verb.replace('-', '_')}")
    (config,) = (
        one
        for one in vars(module).values()
        if isinstance(one, type)
        and one.__module__ == module.__name__
        and re.search("(Config|Flags)$", one.__name__)
    )
    names = {field.name.rstrip("_").replace("_", "-") for field in dataclasses.fields(config)}
    return {"--help", *(f"--{name}" for name in names), *(f"--no-{name}" for name in names)}


def _commands(page: Path) -> list[tuple[str, str]]:
    """Verb and rest of every command of a page; prose such as "qecpipe decodes" has no flags behind it."""
    text = re.sub(r"\\\n\s*", "", page.read_text(encoding="utf-8"))
    found = [(match["verb"], match["rest"]) for match in _COMMAND.finditer(text)]
    return [(verb, rest) for verb, rest in found if verb in VERBS or "--" in rest]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_have_flags_that_there_are(page: Path) -> None:
    for verb, rest in _commands(page):
        assert verb in VERBS, (verb, rest)
        unknown = set(re.findall(r"--[a-z][a-z-]*", rest)) - _flags(verb)
        assert not unknown, (verb, rest)


def test_commands_are_found() -> None:
    assert sum(len(_commands(page)) for page in PAGES) > 60
