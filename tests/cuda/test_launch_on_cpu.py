"""Kernels of the extension: what it has, and calls that it refuses."""

import re

import numpy as np
import pytest

import _qecpipe
from cuda.qecpipe import launch_on_cpu
from cuda.qecpipe.compile import KERNELS


def test_every_kernel_is_in_the_extension() -> None:
    """By its name in the sources, of which there is one for each entry."""
    sources = {path.name: path.read_text(encoding="utf-8") for path in KERNELS.glob("*.cu")}
    named = set()
    for text in sources.values():
        named |= set(re.findall(r"QECPIPE_(?:THREAD|BLOCK)_KERNEL\((?!name)(\w+)\)", text))
        named |= set(re.findall(r"^[A-Z_]+_KERNEL\((\w+_\w+),", text, flags=re.MULTILINE))
    assert named == set(_qecpipe.kernels())
    assert {name.split("_")[0] for name in named} == {
        name.split("_")[0].removesuffix(".cu") for name in sources
    }


def test_calls_that_do_not_fit_are_refused() -> None:
    sizes = [np.int64(1)] * 3
    with pytest.raises(ValueError, match="there is no kernel 'nothing'"):
        launch_on_cpu("nothing", grid=1, block=1, arguments=())
    with pytest.raises(ValueError, match="'quantize_moves_float32' takes 7 arguments, not 2"):
        launch_on_cpu("quantize_moves_float32", grid=1, block=1, arguments=(0, 0))
    with pytest.raises(ValueError, match="takes an integer as argument 5"):
        launch_on_cpu(
            "quantize_moves_float32",
            grid=1,
            block=1,
            arguments=(0, 0, 0, *sizes[:2], np.float32(0.5), np.float32(1)),
        )
    with pytest.raises(ValueError, match="at least one block and one thread, not grid=0 block=1"):
        launch_on_cpu("quantize_moves_float32", grid=0, block=1, arguments=(0, 0, 0, *sizes, np.float32(1)))
