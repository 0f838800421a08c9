"""The house's rules that import-linter has no contract for."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("qec", "global_decoders", "noise_learning", "predecoder", "decoder_service", "sims")


def modules() -> list[Path]:
    """Every module of the packages."""
    return [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]


def imports(file: Path) -> Iterator[tuple[str, list[str]]]:
    """Absolute imports of a module, type-checking and local ones included: the module and the names taken."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, [alias.name for alias in node.names]


def door(package: str) -> set[str]:
    """What a package's `__init__` lists in `__all__`."""
    tree = ast.parse(ROOT.joinpath(*package.split("."), "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            assert isinstance(node, ast.Assign)
            return set(ast.literal_eval(node.value))
    return set()


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(ROOT)))
def test_other_packages_are_entered_by_their_doors(file: Path) -> None:
    own = file.relative_to(ROOT).parts[0]
    wrong = []
    for module, names in imports(file):
        package = module.split(".")[0]
        if package not in PACKAGES or package == own:
            continue
        if not ROOT.joinpath(*module.split("."), "__init__.py").exists():
            wrong.append(f"{module} is a module inside {package}; import from a package that lists the name")
            continue
        behind = [name for name in names if name not in door(module)]
        if behind:
            wrong.append(f"{module} does not list {', '.join(behind)} in __all__")
    assert not wrong, f"{file.relative_to(ROOT)}: {'; '.join(wrong)}"


def test_the_environment_is_read_by_the_command_line_alone() -> None:
    readers = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in modules()
        if not file.is_relative_to(ROOT / "sims" / "cli")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    ]
    assert not readers
