"""The doctor's report: versions, where modules come from, the extension, machine, weights, decoders."""

from __future__ import annotations

from collections.abc import Iterator

from sims.doctor import extension, machine, packages
from sims.doctor.finding import Finding


def examine() -> Iterator[Finding]:
    """All findings, in the order in which they are read."""
    yield from packages.versions()
    yield from packages.modules()
    yield from extension.extension()
    yield from machine.processor()
    yield from machine.gpu()
    if isinstance(extension.load(), str):
        return  # nothing else of ours can be imported
    yield from _weights()
    yield from _decoders()


def _weights() -> Iterator[Finding]:
    from predecoder import resolve_weights, shipped_weights

    for name in ("default", *shipped_weights()):
        try:
            weights = resolve_weights(name)
        except (ValueError, OSError) as error:
            yield Finding("weights", name, " ".join(str(error).split()), "problem")
        else:
            yield Finding("weights", name, f"sha256 {weights.sha256}, {weights.path}")


def _decoders() -> Iterator[Finding]:
    from global_decoders import decoder_names, is_available, make_decoder

    for name in decoder_names():
        if is_available(name):
            yield Finding("decoders", name, "yes")
            continue
        try:
            make_decoder(name)
        except ImportError as error:
            yield Finding("decoders", name, " ".join(str(error).split()), "note")
