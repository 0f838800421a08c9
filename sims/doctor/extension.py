"""The extension module `_qecpipe`: which one is found, how it was built, and what of it runs here."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from sims.doctor.finding import Finding

__all__ = ["extension", "load"]

_HOME = Path(__file__).resolve().parents[2]
"""Where our packages lie: the extension belongs beside them."""


def load() -> ModuleType | str:
    """The extension, or why it cannot be loaded."""
    try:
        return importlib.import_module("_qecpipe")
    except ImportError as error:
        return f"{' '.join(str(error).split())}; build it: scripts/setup.sh, or pip install -e . in {_HOME}"


def extension() -> Iterator[Finding]:
    """Path, version, compiler, instruction sets; one of another tree or another version is a problem."""
    module = load()
    if isinstance(module, str):
        yield Finding("extension", "module", module, "problem")
        return
    path = Path(str(module.__file__)).resolve()
    if path.parent == _HOME:
        yield Finding("extension", "module", str(path))
    else:
        fix = f"build it there (scripts/setup.sh), or have {_HOME} first on the path"
        yield Finding("extension", "module", f"{path}: not beside {_HOME / 'sims'}; {fix}", "problem")
    installed = importlib.metadata.version("qecpipe")
    if installed == module.VERSION:
        yield Finding("extension", "version", module.VERSION)
    else:
        yield Finding(
            "extension", "version", f"{module.VERSION}, but qecpipe is {installed}; build it again", "problem"
        )
    built = f"{module.COMPILER}, {module.BUILD_TYPE}"
    if module.SANITIZERS or module.BUILD_TYPE != "Release":
        checks = f", checked by {module.SANITIZERS}" if module.SANITIZERS else ""
        yield Finding(
            "extension", "compiler", f"{built}{checks}: slow; scripts/build_native.sh for a fast one", "note"
        )
    else:
        yield Finding("extension", "compiler", built)
    *others, best = module.instruction_sets()
    also = f" (can also run {', '.join(others)})" if others else ""
    yield Finding("extension", "instruction set", best + also)
