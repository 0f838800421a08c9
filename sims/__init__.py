"""Sweeps, latency, plots and the `qecpipe` command line.

Public:
    sinter_decoders   every decoder of ours by the names the command line uses, for `sinter.collect`
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import sinter

__all__ = ["sinter_decoders"]


def sinter_decoders(weights: str | Path = "default") -> dict[str, sinter.Decoder]:
    """Every decoder that is installed here: each global decoder `NAME`, `predecoder+NAME`, `neural-matching`.

    For `sinter.collect(custom_decoders=sims.sinter_decoders())` and
    `sinter collect --custom_decoders_module_function sims:sinter_decoders`. Those with a network
    use `weights`, a shipped name or a path, and the best device; a circuit whose layout it does not fit, or
    of fewer rounds than it is good for, is decoded without it, with a `LayoutMismatchWarning` or a
    `ShortExperimentWarning`.

    sinter's task ids do not know the weights: put `resolve_weights(weights).sha256` into
    `json_metadata` where a CSV outlives one set of weights (`qecpipe sweep` does).
    """
    from sims.decoders import all_decoders

    return all_decoders(weights=weights)
