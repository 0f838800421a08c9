"""What a model may say, and how much of it."""

from __future__ import annotations

import pytest

from decoder_service.building import BuildLimits, build_decoder
from decoder_service.protocol import Open


def test_a_limit_of_nesting_names_it(kit) -> None:
    options = Open(model="0" * 64, **kit.options)
    with pytest.raises(ValueError, match="nested 3 deep; the limit is 2"):
        build_decoder(options, "REPEAT 2 {\n" * 3 + "H 0\n" + "}\n" * 3, limits=BuildLimits(depth=2))
    with pytest.raises(ValueError, match="detectors that do not repeat; the limit is 10"):
        build_decoder(options, kit.text, limits=BuildLimits(detectors=10))


@pytest.mark.parametrize("tag", ["[#]", "[}}}{]"])
def test_what_tags_say_is_no_nesting(kit, tag: str) -> None:
    """A # in a tag hid the brace behind it from the limit, and braces in tags were counted."""
    options = Open(model="0" * 64, **kit.options)
    deep = f"REPEAT{tag} 2 {{\n" * 17 + "H 0\n" + "}\n" * 17
    with pytest.raises(ValueError, match="nested 17 deep; the limit is 16"):
        build_decoder(options, deep)
    tagged = str(kit.circuit).replace("TICK", "TICK[{{{{{{{{{{{{{{{{{]")
    assert build_decoder(options, tagged).shape == build_decoder(options, kit.text).shape
