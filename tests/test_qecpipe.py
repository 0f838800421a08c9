"""The one module that notebooks import."""

import subprocess
import sys

import pytest

import qecpipe


def test_every_name_is_what_its_package_has() -> None:
    import decoder_service
    import noise_learning
    import qec
    import sims

    for name in set(qecpipe.__all__) - {"__version__"}:
        homes = [module for module in (qec, noise_learning, decoder_service, sims) if name in module.__all__]
        assert [getattr(home, name) for home in homes] == [getattr(qecpipe, name)], name
    assert dir(qecpipe) == sorted(qecpipe.__all__)


def test_the_version_is_the_packages() -> None:
    from importlib.metadata import version

    assert qecpipe.__version__ == version("qecpipe")


def test_importing_it_loads_nothing_else() -> None:
    heavy = ("numpy", "stim", "torch", "qec", "sims")
    script = f"import sys, qecpipe; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"no 'memory'; it has .*memory_circuit"):
        qecpipe.memory  # noqa: B018
