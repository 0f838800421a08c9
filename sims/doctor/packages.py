"""Which versions are installed, and where our modules come from."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import re
from collections.abc import Iterator
from pathlib import Path

from sims.doctor.finding import Finding

OUR_MODULES = (
    "qecpipe",
    "qec",
    "global_decoders",
    "predecoder",
    "noise_learning",
    "decoder_service",
    "sims",
    "cuda.qecpipe",
)
_EXTRAS = ("service", "cuda", "decoders")
"""What users install; without one of them a part of the project does not run, and says so."""


def versions() -> Iterator[Finding]:
    """Python, qecpipe, and what it needs; a package of an extra that is absent is a note."""
    yield Finding("versions", "python", f"{platform.python_version()} ({platform.platform()})")
    yield Finding("versions", "qecpipe", importlib.metadata.version("qecpipe"))
    for requirement in importlib.metadata.requires("qecpipe") or ():
        needed, _, condition = requirement.partition(";")
        extra = re.search(r"extra\s*==\s*['\"](\w+)['\"]", condition)
        if extra is not None and extra[1] not in _EXTRAS:
            continue
        if "sys_platform != 'darwin'" in condition and platform.system() == "Darwin":
            continue
        package = re.split(r"[^A-Za-z0-9_.-]", needed.strip(), maxsplit=1)[0]
        try:
            yield Finding("versions", package, importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            if extra is None:
                yield Finding("versions", package, "not installed; install qecpipe again", "problem")
            else:
                fix = f"not installed; pip install 'qecpipe[{extra[1]}]'"
                yield Finding("versions", package, fix, "note")


def modules() -> Iterator[Finding]:
    """Where each of our modules is imported from: all from one tree, or something shadows them.

    PyPI has other projects that install modules named `qec` and `sims`; whichever stands first on the path
    is imported.
    """
    home = Path(__file__).resolve().parents[2]
    installed = importlib.metadata.packages_distributions()
    for name in OUR_MODULES:
        origin = _origin(name)
        expected = home.joinpath(*name.split("."))
        others = sorted(set(installed.get(name, ())) - {"qecpipe"})
        if origin is None:
            fix = "not found; install qecpipe again (pip install -e .)"
            yield Finding("modules", name, fix, "problem")
        elif origin not in (expected, expected.with_suffix(".py")):
            whose = f"of the package {', '.join(others)}" if others else "of another project"
            fix = (
                f"pip uninstall {' '.join(others)}"
                if others
                else "uninstall that project, or leave its folder"
            )
            yield Finding("modules", name, f"{origin}: {whose}, not beside {home / 'sims'}; {fix}", "problem")
        elif others:
            also = f"{origin}; the package {', '.join(others)} installs a module of that name too"
            yield Finding("modules", name, also, "note")
        else:
            yield Finding("modules", name, str(origin))


def _origin(name: str) -> Path | None:
    """The folder of a package, or the file of a module, as an import would find it."""
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None
    if spec is None or spec.origin is None:
        return None
    origin = Path(spec.origin).resolve()
    return origin.parent if origin.name == "__init__.py" else origin
