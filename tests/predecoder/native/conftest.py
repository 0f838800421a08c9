"""A compiler, or none of these tests."""

import pytest

from predecoder.native import NativeUnavailableError, load_library


@pytest.fixture(scope="session", autouse=True)
def _compiler() -> None:
    """Skips where native code cannot be built for want of a compiler; a source that is wrong fails."""
    try:
        load_library("residual")
    except NativeUnavailableError as error:
        if "no C++ compiler" not in str(error):
            raise
        pytest.skip(str(error))
