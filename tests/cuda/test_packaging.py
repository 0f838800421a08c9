"""The kernels ship with the package, and the package leaves the shared `cuda` namespace alone."""

import importlib.util
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KERNEL_FILES = sorted(path.name for path in (ROOT / "cuda/qecpipe/kernels").glob("*.[ch]*"))


def test_cuda_stays_a_namespace_package() -> None:
    import cuda.bindings
    import cuda.core

    import cuda.qecpipe

    spec = importlib.util.find_spec("cuda")
    assert spec is not None
    assert spec.origin is None, f"{spec.origin} hides cuda.bindings and cuda.core: delete it"
    assert not (ROOT / "cuda" / "__init__.py").exists()
    assert Path(str(cuda.core.__file__)).parents[1] != Path(cuda.qecpipe.__file__).parents[1]


def test_importing_the_package_needs_neither_torch_nor_the_cuda_packages() -> None:
    heavy = ("torch", "cuda.core", "cuda.bindings")
    script = f"import sys, cuda.qecpipe; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", KERNEL_FILES)
def test_kernel_sources_are_package_data(name: str) -> None:
    assert {"blocked_input.cu", "portable.h"} < set(KERNEL_FILES)
    assert files("cuda.qecpipe").joinpath("kernels", name).read_text(encoding="utf-8").startswith("//")
