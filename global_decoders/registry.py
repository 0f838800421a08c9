"""Names of global decoders, and the adapter that makes each.

Adapter modules import their library at their top, and only `make_decoder` imports adapter modules:
listing names costs nothing, and a worker process that unpickles one decoder loads one library.
"""

import dataclasses
import difflib
import importlib
from typing import Any

import sinter

INSTALL_COMMAND = "pip install 'qecpipe[decoders]'"


class UnknownDecoderError(ValueError):
    """No global decoder has this name."""


class MissingDecoderError(ImportError):
    """The decoder is known, but the package it adapts cannot be imported."""


@dataclasses.dataclass(frozen=True)
class _Entry:
    """Where a decoder comes from: `factory(**options)` of `global_decoders.adapters.<adapter>`."""

    adapter: str
    factory: str
    distribution: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


_ENTRIES = {
    "pymatching": _Entry("pymatching", "PyMatchingDecoder", "pymatching"),
    "pymatching-correlated": _Entry("pymatching", "PyMatchingDecoder", "pymatching", {"correlated": True}),
    "belief-matching": _Entry("belief_matching", "BeliefMatchingDecoder", "beliefmatching"),
    "fusion-blossom": _Entry("fusion_blossom", "FusionBlossomDecoder", "fusion-blossom"),
    "bp-osd": _Entry("ldpc", "BpOsdDecoder", "ldpc"),
    "bp-lsd": _Entry("ldpc", "BpLsdDecoder", "ldpc"),
    "mwpf": _Entry("mwpf", "MwpfDecoder", "mwpf"),
    "tesseract": _Entry("tesseract", "TesseractDecoder", "tesseract-decoder"),
    "relay-bp": _Entry("relay_bp", "RelayBpDecoder", "relay-bp"),
    "trellis": _Entry("trellis", "TrellisDecoder", "qecpipe"),
}


def decoder_names() -> tuple[str, ...]:
    """Every registered name, installed or not, in the order of the documentation."""
    return tuple(_ENTRIES)


def make_decoder(name: str) -> sinter.Decoder:
    """The global decoder of this name: picklable, compiles for any DEM it can represent.

    Raises:
        UnknownDecoderError: no such name; the message has the closest names and the full list.
        MissingDecoderError: the package behind the name is absent or does not load here; the
            message has the package, the reason and the command that installs it.
    """
    if name not in _ENTRIES:
        close = difflib.get_close_matches(name, _ENTRIES, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise UnknownDecoderError(f"unknown decoder {name!r}; {hint}known names: {', '.join(_ENTRIES)}")
    entry = _ENTRIES[name]
    try:
        adapter = importlib.import_module(f"global_decoders.adapters.{entry.adapter}")
    except (ImportError, ValueError) as error:
        # ValueError: what Cython modules raise on "numpy.dtype size changed", an ABI break.
        raise MissingDecoderError(
            f"decoder {name!r} needs the package {entry.distribution!r}, which does not import here "
            f"({error}); install it with: {INSTALL_COMMAND}",
            name=entry.distribution,
        ) from error
    return getattr(adapter, entry.factory)(**entry.options)


def is_available(name: str) -> bool:
    """Whether `make_decoder(name)` succeeds: the package is installed and imports on this machine.

    Raises:
        UnknownDecoderError: no such name.
    """
    try:
        make_decoder(name)
    except MissingDecoderError:
        return False
    return True
