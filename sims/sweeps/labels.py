"""What tells results apart beyond d, rounds, p, basis and decoder, so that a table or plot can name it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sinter

CIRCUIT_DETAILS = ("noise", "orientation", "perfect_last_round")
DECODER_DETAILS = ("weights", "device", "policy")
_HASH_DIGITS = 8


def circuit_key(stats: sinter.TaskStats) -> tuple[tuple[str, Any], ...]:
    """The metadata of the circuit: equal for all decoders on it, and for no other circuit."""
    metadata = stats.json_metadata or {}
    return tuple(sorted((name, value) for name, value in metadata.items() if name not in DECODER_DETAILS))


def differing(stats: Sequence[sinter.TaskStats], names: Iterable[str]) -> tuple[str, ...]:
    """Those of the metadata `names` that tell rows apart.

    A detail of the circuit does if it takes more than one value, one of the decoder if it does so
    for one decoder's name; rows without a network have no weights.
    """
    values: dict[tuple[str, str], set[Any]] = {}
    for one in stats:
        for name in names:
            if _applies(name, one.json_metadata):
                group = one.decoder if name in DECODER_DETAILS else ""
                values.setdefault((name, group), set()).add(one.json_metadata.get(name))
    several = {name for (name, _), found in values.items() if len(found) > 1}
    return tuple(name for name in names if name in several)


def details(metadata: dict[str, Any], names: Iterable[str]) -> tuple[str, ...]:
    """('noise si1000', 'weights 02f74fef'): the values of `names` in one row, those that it has."""
    return tuple(f"{name} {_short(name, metadata[name])}" for name in names if name in metadata)


def _applies(name: str, metadata: dict[str, Any]) -> bool:
    return name in metadata or name not in DECODER_DETAILS


def _short(name: str, value: object) -> str:
    return str(value)[:_HASH_DIGITS] if name == "weights" else str(value)
