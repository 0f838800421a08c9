"""Decoders by the names that the command line, the CSV and the plots use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sinter
import stim

from qec import LayoutError

PREDECODER_PREFIX = "predecoder+"
NEURAL_MATCHING = "neural-matching"
Device = Literal["auto", "cpu", "cuda"]
Policy = Literal["auto", "threshold", "abstain", "complete"]


@dataclass(frozen=True)
class NamedDecoder:
    """A decoder, its name, and what must not be mixed in one row of results.

    `weights` is the sha256 of the network's file, `device` where it runs ('cpu' or 'cuda'), `policy`
    how its logits become commits (`predecoder.correction`), which `neural-matching` does not have; all are
    None without a network.
    """

    name: str
    decoder: sinter.Decoder
    weights: str | None = None
    device: str | None = None
    policy: str | None = None

    @property
    def identity(self) -> dict[str, str]:
        """The entries for `json_metadata`."""
        entries = {"weights": self.weights, "device": self.device, "policy": self.policy}
        return {name: value for name, value in entries.items() if value is not None}

    def compiled(self, dem: stim.DetectorErrorModel) -> sinter.CompiledDecoder:
        """The decoder, ready for the shots of `dem`.

        Raises `LayoutError`, with what to use instead, where the network does not fit.
        """
        try:
            return self.decoder.compile_decoder_for_dem(dem=dem)
        except LayoutError as error:
            plain = (
                "pymatching" if self.name == NEURAL_MATCHING else self.name.removeprefix(PREDECODER_PREFIX)
            )
            raise LayoutError(f"{error}; without the network it works: --decoder {plain}") from error


def build_decoder(
    name: str,
    *,
    weights: str | Path = "default",
    device: Device = "auto",
    policy: Policy = "auto",
    threads: int | None = None,
    on_mismatch: Literal["warn", "fail"] = "fail",
) -> NamedDecoder:
    """The decoder called `name`: a registered one, `predecoder+` one of them, or `neural-matching`.

    `policy` is that of `predecoder+X`: 'auto' is threshold for matchers on independent edges and abstain for
    other decoders. `threads` limits the network's CPU threads (None: torch's choice). Raises
    `UnknownDecoderError`, `MissingDecoderError` or `WeightsError`.
    """
    from global_decoders import make_decoder

    if name != NEURAL_MATCHING and not name.startswith(PREDECODER_PREFIX):
        return NamedDecoder(name, make_decoder(name))
    from predecoder import NeuralMatchingDecoder, PredecodedDecoder

    options: dict[str, Any] = {
        "weights": weights,
        "device": device,
        "on_mismatch": on_mismatch,
        "threads": threads,
    }
    if name == NEURAL_MATCHING:
        decoder, chosen = NeuralMatchingDecoder(**options), None
    else:
        global_decoder = make_decoder(name.removeprefix(PREDECODER_PREFIX))
        decoder = PredecodedDecoder(global_decoder, policy=policy, **options)
        chosen = decoder.policy
    return NamedDecoder(name, decoder, weights=decoder.weights_sha256, device=decoder.device, policy=chosen)


def all_decoders(*, weights: str | Path = "default") -> dict[str, sinter.Decoder]:
    """Every installed global decoder, each with the network in front of it, and `neural-matching`."""
    from global_decoders import decoder_names, is_available

    names = [name for name in decoder_names() if is_available(name)]
    names += [NEURAL_MATCHING, *(PREDECODER_PREFIX + name for name in names)]
    return {name: build_decoder(name, weights=weights, on_mismatch="warn").decoder for name in names}
