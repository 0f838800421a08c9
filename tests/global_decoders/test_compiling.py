"""What all decoders share: which DEMs they take, and what they say of others."""

import pytest
import stim

from global_decoders.compiling import require_edges


@pytest.mark.parametrize(
    "text",
    [
        "error(0.1) D0 D1 D2",
        "error(0.1) D0 ^ D1 D2 D3 L0",
        "repeat 3 {\n    error(0.1) D0 D1 D2 D3\n    shift_detectors 1\n}",
    ],
)
@pytest.mark.parametrize("name", ["pymatching", "pymatching-correlated", "belief-matching", "fusion-blossom"])
def test_matchers_refuse_undecomposed_mechanisms(name, text, compiled):
    with pytest.raises(ValueError, match=r"cannot use the mechanism 'error\(0\.1\).*decompose_errors=True"):
        compiled(name, stim.DetectorErrorModel(text))


def test_decomposed_mechanisms_are_accepted():
    require_edges(
        stim.DetectorErrorModel("repeat 2 {\n error(0.1) D0 D1 L0 L1 ^ D2\n shift_detectors 1\n}"),
        decoder="x",
    )
