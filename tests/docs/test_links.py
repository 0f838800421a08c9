"""Links of the pages that the site does not have, as README: mkdocs looks at its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "native/README.md", "scripts/gpu/README.md")
_LINK = re.compile(r"\]\((?!https?://)(?P<target>[^)#]+)(?:#[^)]*)?\)|(?<![\w/.])(?P<path>docs/[\w/-]+\.md)")


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_files(name: str) -> None:
    page = ROOT / name
    for match in _LINK.finditer(page.read_text(encoding="utf-8")):
        base = page.parent if match["target"] else ROOT
        target = base / (match["target"] or match["path"])
        assert target.exists(), match[0]


def test_no_page_has_a_merge_in_it() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        marked = re.search(r"^(<{7}|>{7}) ", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert marked is None, page
