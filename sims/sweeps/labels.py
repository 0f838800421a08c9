"""What tells results apart beyond d, rounds, p, basis and decoder, so that a table or plot can name it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sinter

from sims.decoders import NEURAL, PREDECODER_PREFIX
from sims.sweeps.kept import GAP, KEEP

CIRCUIT_DETAILS = ("noise", "orientation", "perfect_last_round", "reset")
ESTIMATOR = "estimator"
"""Key of `json_metadata` in rows whose counts are effective ones, of an estimator that counts no errors."""
DECODER_DETAILS = ("weights", "device", "policy", "precision", GAP, KEEP, ESTIMATOR)
_ALWAYS_SHOWN = {"precision": ("bfloat16", "float16")}
"""Values that are worth a word in every row that has them: what no engine chooses by itself."""
_HASH_DIGITS = 8
_FIRST_DECODERS = ("pymatching", "pymatching-correlated")

Label = Callable[[sinter.TaskStats], str]

_REQUIRED = {
    "d": (int, "a whole number of at least 1"),
    "rounds": (int, "a whole number of at least 1"),
    "p": (int | float, "a number"),
    "basis": (str, "a text"),
}


def check_metadata(stats: Iterable[sinter.TaskStats]) -> None:
    """Raise ValueError, with the row, where `json_metadata` is not such as a sweep writes.

    A CSV of another program of sinter's may hold any JSON there, a list for example.
    """
    for one in stats:
        metadata = one.json_metadata
        if not isinstance(metadata, dict):
            raise _not_ours(one, f"has json_metadata {json.dumps(metadata)[:60]}, which is no object")
        missing = _REQUIRED.keys() - metadata.keys()
        if missing:
            raise _not_ours(one, f"lacks {', '.join(sorted(missing))} in json_metadata")
        for name, (kind, meant) in _REQUIRED.items():
            value = metadata[name]
            fits = isinstance(value, kind) and not isinstance(value, bool)
            if not fits or (kind is int and value < 1):
                raise _not_ours(one, f"has {name}={value!r} in json_metadata, which is not {meant}")
        for name in (*CIRCUIT_DETAILS, *DECODER_DETAILS):
            if isinstance(metadata.get(name), list | dict):
                raise _not_ours(
                    one, f"has {name}={metadata[name]!r} in json_metadata, which is no single value"
                )


def _not_ours(stats: sinter.TaskStats, reason: str) -> ValueError:
    return ValueError(f"row {stats.strong_id[:12]}... {reason}; give a CSV that qecpipe sweep wrote")


def circuit_key(stats: sinter.TaskStats) -> tuple[tuple[str, Any], ...]:
    """The metadata of the circuit: equal for all decoders on it, and for no other circuit."""
    metadata = stats.json_metadata
    if not isinstance(metadata, dict):  # of another program of sinter's
        return (("json_metadata", str(metadata)),)
    return tuple(sorted((name, value) for name, value in metadata.items() if name not in DECODER_DETAILS))


def sweep_order(stats: sinter.TaskStats) -> tuple[Any, ...]:
    """Sort key of rows: by circuit as a sweep goes through them, and PyMatching first in each.

    Circuits are by distance, p, basis and what else differs; decoders are those without a network,
    neural-matching, neural-ensemble, then predecoder+X in the order of the X. `check_metadata` comes
    before.
    """
    metadata = stats.json_metadata
    circuit = (metadata["d"], metadata["p"], metadata["basis"], metadata["rounds"], str(circuit_key(stats)))
    network = stats.decoder.startswith(PREDECODER_PREFIX) * 2 + (stats.decoder in NEURAL)
    name = stats.decoder.removeprefix(PREDECODER_PREFIX)
    known = _FIRST_DECODERS.index(name) if name in _FIRST_DECODERS else len(_FIRST_DECODERS)
    of_all_first = -metadata.get(KEEP, 2)
    return (*circuit, network, known, name, of_all_first, str(sorted(metadata.items())))


def differing(stats: Sequence[sinter.TaskStats], names: Iterable[str]) -> tuple[str, ...]:
    """Those of the metadata `names` that tell rows apart.

    A detail of the circuit does if it takes more than one value, one of the decoder if it does so
    for one decoder's name; rows without a network have no weights. bfloat16, float16, and
    the fraction of shots that are kept, are shown wherever there are any.
    """
    values: dict[tuple[str, str], set[Any]] = {}
    for one in stats:
        for name in names:
            if _applies(name, one.json_metadata):
                group = one.decoder if name in DECODER_DETAILS else ""
                values.setdefault((name, group), set()).add(one.json_metadata.get(name))
    several = {name for (name, _), found in values.items() if len(found) > 1}
    return tuple(name for name in names if name in several or _always_shown(name, stats))


def curve_label(stats: Sequence[sinter.TaskStats]) -> Label:
    """A curve's name over d or p: the decoder, and what else tells rows apart."""
    as_many_as_d = all(one.json_metadata["rounds"] == one.json_metadata["d"] for one in stats)
    rounds = () if as_many_as_d else ("rounds",)
    extra = (*differing(stats, CIRCUIT_DETAILS), *rounds, *differing(stats, DECODER_DETAILS))
    return lambda one: ", ".join((one.decoder, *details(one.json_metadata, extra)))


def _always_shown(name: str, stats: Sequence[sinter.TaskStats]) -> bool:
    if name == KEEP:
        return any(KEEP in one.json_metadata for one in stats)
    wanted = _ALWAYS_SHOWN.get(name, ())
    return any(one.json_metadata.get(name) in wanted for one in stats)


def details(metadata: dict[str, Any], names: Iterable[str]) -> tuple[str, ...]:
    """('noise si1000', 'weights 02f74fef'): the values of `names` in one row, those that it has."""
    return tuple(f"{name} {_short(name, metadata[name])}" for name in names if name in metadata)


def _applies(name: str, metadata: dict[str, Any]) -> bool:
    return name in metadata or name not in DECODER_DETAILS


def _short(name: str, value: object) -> str:
    return str(value)[:_HASH_DIGITS] if name == "weights" else str(value)
