"""One look per decoder in every plot, that survives a grey copy: line style and marker go with the colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

BASELINE = "pymatching"


@dataclass(frozen=True)
class Look:
    """How a curve is drawn; the colours are Okabe and Ito's, whose lightness differs."""

    color: str
    linestyle: Any
    marker: str

    def as_arguments(self) -> dict[str, Any]:
        """Keyword arguments of `Axes.plot`."""
        return {"color": self.color, "linestyle": self.linestyle, "marker": self.marker}


_KNOWN = {
    BASELINE: Look("#000000", "-", "o"),
    "pymatching-correlated": Look("#0072b2", (0, (6, 2)), "s"),
    "neural-matching": Look("#d55e00", "-", "D"),
    "neural-ensemble": Look("#a50026", (0, (1, 1)), "D"),
    "predecoder+pymatching": Look("#e69f00", (0, (1, 1.2)), "^"),
    "predecoder+pymatching-correlated": Look("#56b4e9", (0, (6, 2, 1, 2)), "v"),
}
_MORE = (
    Look("#009e73", (0, (4, 1.5)), "P"),
    Look("#cc79a7", (0, (8, 2, 1, 2, 1, 2)), "X"),
    Look("#7f7f7f", (0, (2, 2)), "*"),
    Look("#8c564b", "-", "<"),
    Look("#17becf", (0, (5, 1, 1, 1)), ">"),
    Look("#bcbd22", (0, (3, 3)), "h"),
    Look("#4b0082", (0, (10, 2)), "d"),
    Look("#a0522d", (0, (1, 3)), "p"),
)


def looks(decoders: Sequence[tuple[str, str]]) -> dict[str, Look]:
    """A look for every label, of (label, decoder's name) pairs in the order of the legend.

    A decoder has the look of its name the first time, and a free one for its further labels.
    """
    present = {name for _, name in decoders}
    chosen: dict[str, Look] = {}
    free = [*_MORE, *(look for name, look in _KNOWN.items() if name not in present)]
    taken = set()
    more = 0
    for label, name in decoders:
        if name in _KNOWN and name not in taken:
            chosen[label] = _KNOWN[name]
            taken.add(name)
        else:
            chosen[label] = free[more % len(free)]
            more += 1
    return chosen
