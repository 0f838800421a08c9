"""Sweeps, latency, plots and the `qecpipe` command line.

Public:
    sinter_decoders   every decoder of ours by the names the command line uses, for `sinter.collect`
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sinter

__all__ = ["sinter_decoders"]


def sinter_decoders() -> dict[str, sinter.Decoder]:
    """Every decoder that is installed here: each global decoder `NAME`, and `predecoder+NAME`.

    For `sinter.collect(custom_decoders=sims.sinter_decoders())` and
    `sinter collect --custom_decoders_module_function sims:sinter_decoders`. The pre-decoded ones use
    the default weights and the best device; a circuit whose layout they do not fit is decoded
    without them, with a `PredecoderMisfitWarning`.

    sinter's task ids do not know the weights: put `resolve_weights('default').sha256` into
    `json_metadata` where a CSV outlives one set of weights (`qecpipe sweep` does).
    """
    from sims.decoders import all_decoders

    return all_decoders()
