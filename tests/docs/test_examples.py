"""Every Python example of README and docs runs, page by page, in a folder of its own."""

import re
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
_DEVICE_DATA = "../shared/data"


def _code(page: Path) -> str:
    """The page's Python blocks as one script, each line at its number in the page."""
    text = page.read_text(encoding="utf-8")
    lines = [""] * text.count("\n")
    for block in _BLOCK.finditer(text):
        first = text.count("\n", 0, block.start(1))
        body = block.group(1).splitlines()
        lines[first : first + len(body)] = body
    return "\n".join(lines)


def _cases() -> list:
    pages = [page for page in PAGES if _BLOCK.search(page.read_text(encoding="utf-8"))]
    slow = {page: [pytest.mark.slow] if "tutorials" in page.parts else [] for page in pages}
    return [pytest.param(page, id=str(page.relative_to(ROOT)), marks=slow[page]) for page in pages]


@pytest.mark.parametrize("page", _cases())
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = _code(page)
    if _DEVICE_DATA in code:
        if not (ROOT / _DEVICE_DATA).is_dir():
            pytest.skip(f"optional device data not found at {_DEVICE_DATA}")
        code = code.replace(_DEVICE_DATA, str((ROOT / _DEVICE_DATA).resolve()))
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # `__name__` lets examples define classes that worker processes can unpickle.
        exec(compile(code, str(page), "exec"), {"__name__": "__main__"})
