"""The kernels built for the CPU, once a session; tests that need them skip where no compiler is."""

import ctypes

import pytest

from cuda.qecpipe import cpu_build


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """`blocked_input.cu` as a loaded CPU library."""
    try:
        built = cpu_build.build_library("blocked_input.cu", tmp_path_factory.mktemp("kernels"))
    except cpu_build.CompilerMissingError as error:
        pytest.skip(str(error))
    return ctypes.CDLL(str(built))
