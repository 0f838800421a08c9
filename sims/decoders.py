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
NEURAL_ENSEMBLE = "neural-ensemble"
NEURAL = (NEURAL_MATCHING, NEURAL_ENSEMBLE)
"""Decoders that are a network and a matching on its logits, with nothing behind them."""
Device = str
"""'auto', 'cpu', 'cuda', or one GPU, such as 'cuda:0'; see `predecoder.inference.select_device`."""
Policy = Literal["auto", "threshold", "abstain", "complete"]
Precision = Literal["auto", "float32", "bfloat16", "int8"]


@dataclass(frozen=True)
class NamedDecoder:
    """A decoder, its name, and what must not be mixed in one row of results.

    `weights` is the sha256 of the network's file, `device` where it runs ('cpu' or 'cuda'), `precision` what
    it computes in, `policy` how its logits become moves (`predecoder.correction`), which `neural-matching`
    does not have, or what a `neural-ensemble` is made of; all are None without a network.
    """

    name: str
    decoder: sinter.Decoder
    weights: str | None = None
    device: str | None = None
    policy: str | None = None
    precision: str | None = None

    @property
    def identity(self) -> dict[str, str]:
        """The entries for `json_metadata`."""
        entries = {
            "weights": self.weights,
            "device": self.device,
            "policy": self.policy,
            "precision": self.precision,
        }
        return {name: value for name, value in entries.items() if value is not None}

    def compiled(self, dem: stim.DetectorErrorModel) -> sinter.CompiledDecoder:
        """The decoder, ready for the shots of `dem`.

        Raises `LayoutError`, with what to use instead, where the network does not fit but the decoder behind
        it does, and otherwise what that raises.
        """
        try:
            return self.decoder.compile_decoder_for_dem(dem=dem)
        except LayoutError as error:
            plain = "pymatching" if self.name in NEURAL else self.name.removeprefix(PREDECODER_PREFIX)
            _global_decoder(plain).compile_decoder_for_dem(dem=dem)  # where it cannot either, it says why
            raise LayoutError(f"{error}; without the network it works: --decoder {plain}") from error


def build_decoder(
    name: str,
    *,
    weights: str | Path = "default",
    device: Device = "auto",
    policy: Policy = "auto",
    precision: Precision = "auto",
    threads: int | None = None,
    on_mismatch: Literal["warn", "fail"] = "fail",
) -> NamedDecoder:
    """The decoder called `name`: a registered one, `predecoder+` one of them, `neural-matching` or
    `neural-ensemble`.

    `policy` is that of `predecoder+X`: 'auto' is threshold for matchers on independent edges and abstain for
    other decoders. `precision` is what the network computes in; 'auto' is the weights' own, int8 for
    quantized weights on a CPU and float32 otherwise. `threads` limits the network's CPU threads (None:
    torch's choice). Raises `UnknownDecoderError`, `MissingDecoderError`, `WeightsError`, or ValueError for a
    precision that weights or device do not have.
    """
    if name not in NEURAL and not name.startswith(PREDECODER_PREFIX):
        return NamedDecoder(name, _global_decoder(name))
    from predecoder import NeuralEnsembleDecoder, NeuralMatchingDecoder, PredecodedDecoder

    options: dict[str, Any] = {
        "weights": weights,
        "device": device,
        "precision": precision,
        "on_mismatch": on_mismatch,
        "threads": threads,
    }
    if name == NEURAL_MATCHING:
        decoder, chosen = NeuralMatchingDecoder(**options), None
    elif name == NEURAL_ENSEMBLE:
        decoder = NeuralEnsembleDecoder(**options)
        chosen = decoder.policy
    else:
        global_decoder = _global_decoder(name.removeprefix(PREDECODER_PREFIX))
        decoder = PredecodedDecoder(global_decoder, policy=policy, **options)
        chosen = decoder.policy
    return NamedDecoder(
        name,
        decoder,
        weights=decoder.weights_sha256,
        device=decoder.device.partition(":")[0],
        policy=chosen,
        precision=decoder.precision,
    )


def _global_decoder(name: str) -> sinter.Decoder:
    """The registered decoder called `name`; an unknown name is refused with all names there are."""
    from global_decoders import UnknownDecoderError, make_decoder

    try:
        return make_decoder(name)
    except UnknownDecoderError as error:
        raise UnknownDecoderError(
            f"{error}; besides them {', '.join(NEURAL)}, and {PREDECODER_PREFIX}NAME for any of them"
        ) from None


def all_decoders(*, weights: str | Path = "default") -> dict[str, sinter.Decoder]:
    """Every installed global decoder, each with the network in front of it, and those of `NEURAL`."""
    from global_decoders import decoder_names, is_available

    names = [name for name in decoder_names() if is_available(name)]
    names += [*NEURAL, *(PREDECODER_PREFIX + name for name in names)]
    return {name: build_decoder(name, weights=weights, on_mismatch="warn").decoder for name in names}
