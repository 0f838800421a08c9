"""Decoders by the names that the command line, the CSV and the plots use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import sinter
import stim

from qec import LayoutError

PREDECODER_PREFIX = "predecoder+"
Device = Literal["auto", "cpu", "cuda"]
Mode = Literal["auto", "aggressive", "conservative", "matching"]


@dataclass(frozen=True)
class NamedDecoder:
    """A decoder, its name, and what must not be mixed in one row of results.

    `weights` is the sha256 of the network's file, `device` where it runs ('cpu' or 'cuda'), `mode`
    how its logits become commits (`predecoder.modes`); all are None without a pre-decoder.
    """

    name: str
    decoder: sinter.Decoder
    weights: str | None = None
    device: str | None = None
    mode: str | None = None

    @property
    def identity(self) -> dict[str, str]:
        """The entries for `json_metadata`."""
        entries = {"weights": self.weights, "device": self.device, "mode": self.mode}
        return {name: value for name, value in entries.items() if value is not None}

    def compiled(self, dem: stim.DetectorErrorModel) -> sinter.CompiledDecoder:
        """The decoder, ready for the shots of `dem`.

        Raises `LayoutError`, with what to use instead, where the pre-decoder does not fit.
        """
        try:
            return self.decoder.compile_decoder_for_dem(dem=dem)
        except LayoutError as error:
            plain = self.name.removeprefix(PREDECODER_PREFIX)
            raise LayoutError(f"{error}; without the pre-decoder it works: --decoder {plain}") from error


def build_decoder(
    name: str,
    *,
    weights: str | Path = "default",
    device: Device = "auto",
    mode: Mode = "auto",
    threads: int | None = None,
    on_misfit: Literal["warn", "fail"] = "fail",
) -> NamedDecoder:
    """The decoder called `name`: a registered global decoder, or `predecoder+` one of them.

    `mode` 'auto' is conservative for decoders that use correlations and matching for the others.
    `threads` limits the network's CPU threads (None: torch's choice). Raises `UnknownDecoderError`,
    `MissingDecoderError` or `WeightsError`.
    """
    from global_decoders import make_decoder

    if not name.startswith(PREDECODER_PREFIX):
        return NamedDecoder(name, make_decoder(name))
    global_decoder = make_decoder(name.removeprefix(PREDECODER_PREFIX))
    from predecoder import PredecodedDecoder, resolve_weights
    from predecoder.inference import select_device

    decoder = PredecodedDecoder(
        global_decoder, weights=weights, device=device, mode=mode, on_misfit=on_misfit, threads=threads
    )
    sha256, where = resolve_weights(weights).sha256, select_device(device).type
    return NamedDecoder(name, decoder, weights=sha256, device=where, mode=decoder.mode)


def all_decoders() -> dict[str, sinter.Decoder]:
    """Every installed global decoder, and each with the default pre-decoder in front of it."""
    from global_decoders import decoder_names, is_available

    names = [name for name in decoder_names() if is_available(name)]
    names += [PREDECODER_PREFIX + name for name in names]
    return {name: build_decoder(name, on_misfit="warn").decoder for name in names}
