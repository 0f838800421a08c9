"""Decoders by the names that the command line, the CSV and the plots use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sinter
import stim

from qec import LayoutError

PREDECODER_PREFIX = "predecoder+"
NEURAL_MATCHING = "neural-matching"
NEURAL_ENSEMBLE = "neural-ensemble"
CASCADE_PREFIX = "cascade:"
NEURAL = (NEURAL_MATCHING, NEURAL_ENSEMBLE)
"""Decoders that are a network and a matching on its logits, with nothing behind them."""
Device = str
"""'auto', 'cpu', 'cuda', or one GPU, such as 'cuda:0'; see `predecoder.inference.select_device`."""
Policy = Literal["auto", "threshold", "consistent", "abstain", "complete"]
Precision = Literal["auto", "float32", "bfloat16", "float16", "int8"]


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
            plain = _without_network(self.name)
            build_decoder(plain).decoder.compile_decoder_for_dem(
                dem=dem
            )  # where it cannot either, it says why
            raise LayoutError(f"{error}; without the network it works: --decoder {plain}") from error


def build_decoder(
    name: str,
    *,
    weights: str | Path = "default",
    device: Device = "auto",
    policy: Policy = "auto",
    precision: Precision = "auto",
    opinions: Sequence[str | Path] = (),
    threads: int | None = None,
    on_mismatch: Literal["warn", "fail"] = "fail",
) -> NamedDecoder:
    """The decoder called `name`: a registered one, `predecoder+` one of them, `neural-matching`,
    `neural-ensemble`, or a cascade of two of all these, such as `cascade:pymatching,tesseract@1%`.

    `policy` is that of `predecoder+X`: 'auto' is threshold for matchers on independent edges and abstain for
    other decoders. `precision` is what the network computes in; 'auto' is the weights' own, int8 for
    quantized weights on a CPU and float32 otherwise. `opinions` are weights that decide about the shots that
    `neural-ensemble` doubts, by default those of `weights`, and decoders that are asked besides. `threads`
    limits the network's CPU threads (None: torch's choice). Raises `UnknownDecoderError`,
    `MissingDecoderError`, `WeightsError`, or ValueError for a device that there is not, a precision that
    weights or device do not have, or a cascade that does not say what is doubtful.
    """
    options: dict[str, Any] = {
        "weights": weights,
        "device": device,
        "precision": precision,
        "on_mismatch": on_mismatch,
        "threads": threads,
    }
    if name.startswith(CASCADE_PREFIX):
        first, second, doubtful = _cascade_of(name)
        parts = [build_decoder(part, policy=policy, opinions=opinions, **options) for part in (first, second)]
        return _cascade(name, parts, doubtful)
    if name not in NEURAL and not name.startswith(PREDECODER_PREFIX):
        from predecoder.inference import check_device

        check_device(device)  # one that is not there is said, though no network will run on it
        return NamedDecoder(name, _global_decoder(name))
    return _with_network(name, policy, opinions, options)


def _with_network(
    name: str, policy: Policy, opinions: Sequence[str | Path], options: dict[str, Any]
) -> NamedDecoder:
    from predecoder import NeuralEnsembleDecoder, NeuralMatchingDecoder, PredecodedDecoder

    if name == NEURAL_MATCHING:
        decoder, chosen = NeuralMatchingDecoder(**options), None
    elif name == NEURAL_ENSEMBLE:
        decoder = NeuralEnsembleDecoder(opinions=opinions, **options)
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
            f"{error}; besides them {', '.join(NEURAL)}, {PREDECODER_PREFIX}NAME for any of them, and "
            f"{CASCADE_PREFIX}FIRST,SECOND@1% for any two"
        ) from None


def _cascade_of(name: str) -> tuple[str, str, dict[str, float]]:
    """Names of a cascade's two decoders, and the option that says what is doubtful."""
    parts, _, doubtful = name.removeprefix(CASCADE_PREFIX).partition("@")
    first, _, second = parts.partition(",")
    unit = doubtful.removesuffix("%").removesuffix("nats")
    try:
        if not (first and second) or "," in second or unit == doubtful:
            raise ValueError
        value = float(unit)
        option = {"fraction": value / 100} if doubtful.endswith("%") else {"threshold": value}
    except ValueError:
        raise ValueError(
            f"decoder {name!r} is no cascade; write {CASCADE_PREFIX}FIRST,SECOND@1% for the per cent of "
            "shots that FIRST doubts most to go to SECOND, or @2.5nats for those of a gap below that"
        ) from None
    if first.startswith(CASCADE_PREFIX) or second.startswith(CASCADE_PREFIX):
        raise ValueError(f"decoder {name!r} is a cascade of cascades; name two decoders")
    return first, second, option


def _cascade(name: str, parts: Sequence[NamedDecoder], doubtful: dict[str, float]) -> NamedDecoder:
    from global_decoders import CascadeDecoder

    try:
        cascade = CascadeDecoder(*(part.decoder for part in parts), **doubtful)
    except ValueError as error:
        raise ValueError(f"decoder {name!r}: {error}") from None

    def one(values: Iterable[str | None]) -> str | None:
        found = dict.fromkeys(value for value in values if value is not None)
        return ", then ".join(found) or None

    return NamedDecoder(
        name,
        cascade,
        weights=one(part.weights for part in parts),
        device=one(part.device for part in parts),
        policy=one(part.policy for part in parts),
        precision=one(part.precision for part in parts),
    )


def _without_network(name: str) -> str:
    """The name of a decoder that does the same without a network."""
    if name.startswith(CASCADE_PREFIX):
        first, second, _ = _cascade_of(name)
        doubtful = name[name.index("@") :]
        return f"{CASCADE_PREFIX}{_without_network(first)},{_without_network(second)}{doubtful}"
    return "pymatching" if name in NEURAL else name.removeprefix(PREDECODER_PREFIX)


def all_decoders(*, weights: str | Path = "default") -> dict[str, sinter.Decoder]:
    """Every installed global decoder, each with the network in front of it, and those of `NEURAL`."""
    from global_decoders import decoder_names, is_available

    names = [name for name in decoder_names() if is_available(name)]
    names += [*NEURAL, *(PREDECODER_PREFIX + name for name in names)]
    return {name: build_decoder(name, weights=weights, on_mismatch="warn").decoder for name in names}
