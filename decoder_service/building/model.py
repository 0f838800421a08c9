"""The text of a circuit or error model, read within limits, and the decoder that it makes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec
import stim

from decoder_service.building.served_decoder import ServedDecoder
from decoder_service.protocol import Open, Reload
from decoder_service.streaming import StreamDecoder, StreamModel, round_dem
from global_decoders.windows import layers_of, shortened

_COUNTED_DETECTORS = 1_000_000
_TAG_OR_COMMENT = re.compile(r"\[[^\]\n]*\]|#[^\n]*")

Parsed = stim.Circuit | stim.DetectorErrorModel
Program = TypeVar("Program", stim.Circuit, stim.DetectorErrorModel)


class BuildLimits(msgspec.Struct, frozen=True):
    """What the build of one model may take.

    Args:
        seconds: of time.
        bytes: of memory.
        tables: bytes of the tables that it leads to, which is about what a stream takes where it is served.
        depth: of nested REPEAT blocks.
        detectors: of the model, those of blocks that repeat counted once.
        observables: of the model; a stream keeps thousands of outputs with a bit for each.
        window_rounds: commit and buffer together.
    """

    seconds: float = 120.0
    bytes: int = 4 << 30
    tables: int = 256 << 20
    depth: int = 16
    detectors: int = 2_000_000
    observables: int = 4096
    window_rounds: int = 1 << 16

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= 1e9:
            raise ValueError(f"seconds={self.seconds} is no time; it is above 0 and at most 1e9")
        for name in ("bytes", "tables", "depth", "detectors", "observables", "window_rounds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")


def build_decoder(
    options: Open, text: str, *, limits: BuildLimits | None = None, device: str = "cpu"
) -> ServedDecoder:
    """A warm decoder of a stream, built in this process; its network, if it has one, runs on `device`.

    Raises:
        ValueError: the text does not parse, or what it says and the options do not fit each other.
    """
    if options.commit is None or options.buffer is None:
        raise ValueError("commit and buffer are missing; d rounds each suit a code of distance d")
    limits = limits or BuildLimits()
    if options.commit + options.buffer > limits.window_rounds:
        raise ValueError(
            f"commit={options.commit} and buffer={options.buffer} make windows of more than "
            f"{limits.window_rounds} rounds, which is the limit"
        )
    model = _parsed(text, options.kind, limits)
    rounds = options.rounds or _layers_in(model) - 1
    if rounds < 1:
        raise ValueError(
            f"the model has {rounds + 1} layers of detectors; a shot needs two, a round's and its final row's"
        )
    decoder = StreamDecoder(
        model,
        commit=options.commit,
        buffer=options.buffer,
        mode=options.mode,
        decoder=options.decoder,
        predecoder=_shipped(options.predecoder),
        device=device,
        input=options.input if isinstance(model, stim.Circuit) else "detectors",
        gap=options.gap,
    )
    decoder.width(rounds, final=True)  # whether it can end there
    decoder.warm(rounds=rounds)
    if options.gap:
        decoder.require_gap(rounds=rounds)
    return ServedDecoder(decoder, rounds=rounds, commit=options.commit, num_observables=model.num_observables)


def build_reload(
    decoder: ServedDecoder, reload: Reload, text_of: Callable[[str], str], limits: BuildLimits
) -> StreamModel:
    """The model of a RELOAD, for this decoder. Raises ValueError if it is none for it."""
    parsed = _parsed(text_of(reload.model), reload.kind, limits)
    dem = round_dem(parsed) if isinstance(parsed, stim.Circuit) else parsed
    return decoder.inner.prepare(dem, rounds=decoder.shape.rounds)


def _parsed(text: str, kind: str, limits: BuildLimits) -> Parsed:
    """Reads a model. Raises ValueError for what does not parse, or is past the limits."""
    depth = deepest = 0
    for brace in re.findall(r"[{}]", _TAG_OR_COMMENT.sub("", text)):
        depth += 1 if brace == "{" else -1
        deepest = max(deepest, depth)
    if deepest > limits.depth:
        raise ValueError(f"REPEAT blocks are nested {deepest} deep; the limit is {limits.depth}")
    if kind == "circuit":
        return _of_size(stim.Circuit(text), limits)
    return _of_size(stim.DetectorErrorModel(text), limits)


def _of_size(model: Program, limits: BuildLimits) -> Program:
    detectors = shortened(model).num_detectors
    if not detectors:
        raise ValueError("the model has no detectors")
    if detectors > limits.detectors:
        raise ValueError(
            f"the model has {detectors} detectors that do not repeat; the limit is {limits.detectors}"
        )
    if model.num_observables > limits.observables:
        raise ValueError(
            f"the model has {model.num_observables} observables; the limit is {limits.observables}"
        )
    return model


def _layers_in(model: Parsed) -> int:
    """Detector layers of the model as it is written."""
    if model.num_detectors > _COUNTED_DETECTORS:
        raise ValueError(
            f"the model has {model.num_detectors} detectors; say how many rounds a shot has, "
            "and let the model itself be short: its rounds repeat"
        )
    coordinates = model.get_detector_coordinates()
    return int(layers_of([coordinates[k] for k in range(model.num_detectors)]).max(initial=-1)) + 1


def _shipped(name: str | None) -> str | None:
    """A client must not have the server read a file of its choice."""
    if name is None:
        return None
    from predecoder import shipped_weights  # it loads torch

    if name not in ("default", *shipped_weights()):
        raise ValueError(f"predecoder={name!r} is none of the server's: {', '.join(shipped_weights())}")
    return name
