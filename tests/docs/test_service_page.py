"""The page of what the service guarantees names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_guarantee_names_tests_that_exist() -> None:
    page = (ROOT / "docs/concepts/service.md").read_text()
    rows = [row.split("|")[1:-1] for row in page.splitlines() if row.startswith("| ")]
    named = 0
    for *_, tests in rows:
        file = None
        for path, name in re.findall(r"`((?:\w+/)*\w+\.py)?(?:::(\w+))?`", tests):
            file = ROOT / "tests/decoder_service" / path if path else file
            assert file is not None, tests
            assert file.exists(), file
            assert not name or f"def {name}(" in file.read_text(), f"{file.name} has no {name}"
            named += 1
    assert named > 40
