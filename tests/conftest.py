"""Fixtures shared by all tests."""

from pathlib import Path

import pytest
from hypothesis import settings

# Examples share their machine with other work, so their time says nothing.
settings.register_profile("qecpipe", deadline=None)
settings.load_profile("qecpipe")

_SYCAMORE = Path(__file__).resolve().parents[2] / "shared" / "data" / "google_sycamore_d3"


@pytest.fixture(scope="session")
def sycamore() -> Path:
    """Folder of Google's distance-3 data (doi:10.5281/zenodo.6804040), read in place."""
    if not _SYCAMORE.is_dir():
        pytest.skip(f"optional real-device data not found at {_SYCAMORE}")
    return _SYCAMORE
