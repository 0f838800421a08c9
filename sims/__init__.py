"""Sweeps, latency, plots and the `qecpipe` command line.

Public:
    sinter_decoders   every decoder of ours by the names the command line uses, for `sinter.collect`
    make_decoder      one of them

Rooms: `cli` (a file for each verb), `sweeps`, `rare` (rates too small to count), `latency`, `paired` (two
decoders on the same shots), `plots`, `shot_files`, `doctor`. `statistics.py` has the confidence intervals of
error rates and of their ratios.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import sinter

    from sims.decoders import Device, Policy, Precision

__all__ = ["make_decoder", "sinter_decoders"]


def sinter_decoders(weights: str | Path = "default") -> dict[str, sinter.Decoder]:
    """Every decoder that is installed here: each global decoder `NAME`, `predecoder+NAME`,
    `neural-matching`, `neural-ensemble`.

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


def make_decoder(
    name: str,
    *,
    weights: str | Path = "default",
    device: Device = "auto",
    policy: Policy = "auto",
    precision: Precision = "auto",
    opinions: Sequence[str | Path] = (),
    threads: int | None = None,
) -> sinter.Decoder:
    """The decoder of one name: a global decoder `NAME`, `predecoder+NAME`, `neural-matching`,
    `neural-ensemble`, or `cascade:FIRST,SECOND@1%` for any two of them.

    Args:
        weights: of the network: a shipped name, or a path of a .safetensors file; 'default' is accurate, and
            of `neural-ensemble` fast-matching with accurate-matching as its opinions.
        device: where the network runs: 'auto', 'cpu', 'cuda', or one GPU, such as 'cuda:1'.
        policy: how `predecoder+NAME` makes moves of logits: 'threshold', 'consistent', 'abstain',
            'complete', or 'auto' for the one that suits NAME.
        precision: what the network computes in: 'float32', 'bfloat16', 'float16' (GPUs only), 'int8', or
            'auto' for the weights' own.
        opinions: weights that decide where `weights` leave `neural-ensemble` in doubt, by default those; and
            decoders that are asked besides, such as `trellis`.
        threads: of the network on a CPU; None for torch's choice.

    Raises:
        ValueError: an unknown name, weights that are none, or a precision that weights or device do not have.
        ImportError: the decoder's package is not installed.
    """
    from sims.decoders import build_decoder

    named = build_decoder(
        name,
        weights=weights,
        device=device,
        policy=policy,
        precision=precision,
        opinions=opinions,
        threads=threads,
        on_mismatch="warn",
    )
    return named.decoder
