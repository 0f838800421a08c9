"""Tables of a stream's decoder: built from a model in a process of its own, within limits, and kept in files.

What a client sends as a model may ask for more time or memory than there is, or end the process that reads
it. So it is read here only, in a process that the watcher starts for it (`run_build`); workers load the
tables.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
import stim

from decoder_service.protocol import Open, Reload
from decoder_service.server.config import BuildLimits
from decoder_service.server.control import Build, StartBuild
from decoder_service.server.decoding import ServedDecoder
from decoder_service.store import PART, ModelStore, StateFolder
from decoder_service.streaming import (
    PreparedStream,
    SerializedModel,
    StreamDecoder,
    StreamModel,
    round_dem,
)
from global_decoders.windows import layers_of, shortened

FORMAT = 1
"""Of the files; to be raised with every change of what is in them."""
NICENESS = 5
_COUNTED_DETECTORS = 1_000_000
_DIGEST_BYTES = 32
_ERROR_BYTES = 2000
_REFUSED = (ValueError, IndexError, OverflowError)
"""What a model that cannot be used leads to; Stim raises the second for an unknown instruction."""

Parsed = stim.Circuit | stim.DetectorErrorModel
Program = TypeVar("Program", stim.Circuit, stim.DetectorErrorModel)


def build_of(options: Open, *, current: Reload | None = None, reload: Reload | None = None) -> Build:
    """The tables of a stream with these options, or of the model `reload` that takes over from `current`."""
    options = msgspec.structs.replace(options, resume_after=None, on_gap="erase")
    version = importlib.metadata.version("qecpipe")
    named = msgspec.msgpack.encode((FORMAT, version, options, current, reload))
    return Build(hashlib.sha256(named).hexdigest(), options, current, reload)


def stored_tables(state: StateFolder, build: Build) -> bytes | None:
    """Tables that were built before; None if there are none, or they are damaged and to be built again."""
    path = state.tables / build.key
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    tables = data[_DIGEST_BYTES:]
    if hashlib.sha256(tables).digest() != data[:_DIGEST_BYTES]:
        path.unlink(missing_ok=True)
        return None
    os.utime(path)  # those that were not used for longest are deleted first
    return tables


def run_build(start: StartBuild, pipe: int) -> None:
    """Builds in this process, which is for nothing else; an error is written to the pipe."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    os.nice(NICENESS)
    _set_limits(start.limits)
    state = StateFolder(Path(start.state))
    error = ""
    try:
        store = ModelStore(state, max_bytes=start.limits.bytes, max_models=1)
        _store(state.tables / start.build.key, tables_for(start.build, store.text, start.limits))
    except MemoryError:
        error = f"it needs more than {start.limits.bytes >> 20} MiB of memory"
    except OSError as failure:
        error = f"its tables cannot be stored: {failure.strerror or failure}"
    except _REFUSED as refusal:
        error = str(refusal)
    os.write(pipe, error.encode(errors="replace")[:_ERROR_BYTES])


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


def tables_for(build: Build, text_of: Callable[[str], str], limits: BuildLimits) -> bytes:
    """What `stored_tables` gives later: an encoded `PreparedStream`, or `SerializedModel` of a reload.

    With a network they are empty: it is known then that the decoder can be built where it is used. No GPU is
    asked, which a process within limits of memory cannot use.

    Args:
        text_of: the text of a model by its digest.

    Raises:
        ValueError: as `build_decoder`.
    """
    options = build.options
    decoder = build_decoder(options, text_of(options.model), limits=limits)
    rounds = decoder.shape.rounds
    if build.reload is None:
        return b"" if decoder.inner.weights else decoder.inner.prepared(rounds=rounds).encode()
    if build.current is not None:
        decoder.inner.adopt(_prepare(decoder, build.current, text_of, limits))
    model = _prepare(decoder, build.reload, text_of, limits)
    return b"" if decoder.inner.weights else SerializedModel.of(model).encode()


def decoder_from(
    tables: bytes, build: Build, text_of: Callable[[str], str], *, device: str = "cpu"
) -> ServedDecoder:
    """The decoder of a stream, of the tables that were built for it. Raises ValueError as `build_decoder`."""
    if not tables:
        return build_decoder(build.options, text_of(build.options.model), device=device)
    prepared = PreparedStream.decode(tables)
    return ServedDecoder(
        StreamDecoder.of(prepared, gap=build.options.gap),
        rounds=prepared.num_rounds,
        commit=build.options.commit or 1,
        num_observables=prepared.model.layers.num_observables,
    )


def reload_from(
    tables: bytes, build: Build, decoder: ServedDecoder, text_of: Callable[[str], str]
) -> StreamModel:
    """The model of a RELOAD for this decoder, of the tables that were built for it."""
    if tables:
        return SerializedModel.decode(tables).build()
    assert build.reload is not None
    return _prepare(decoder, build.reload, text_of, BuildLimits())


class BuiltSources(NamedTuple):
    """Decoders and models of what was built: the sources of a replay.

    Args:
        text: of a model by its digest.
        tables: built for a stream or a model; a ValueError says why they cannot be.
        device: where networks run.
    """

    text: Callable[[str], str]
    tables: Callable[[Build], bytes]
    device: str = "cpu"

    def decoder(self, options: Open) -> ServedDecoder:
        """Of a stream that is opened so."""
        build = build_of(options)
        return decoder_from(self.tables(build), build, self.text, device=self.device)

    def model(
        self, options: Open, current: Reload | None, reload: Reload, decoder: ServedDecoder
    ) -> StreamModel:
        """What takes over from `current`."""
        build = build_of(options, current=current, reload=reload)
        return reload_from(self.tables(build), build, decoder, self.text)


def _prepare(
    decoder: ServedDecoder, reload: Reload, text_of: Callable[[str], str], limits: BuildLimits
) -> StreamModel:
    parsed = _parsed(text_of(reload.model), reload.kind, limits)
    dem = round_dem(parsed) if isinstance(parsed, stim.Circuit) else parsed
    return decoder.inner.prepare(dem, rounds=decoder.shape.rounds)


def _parsed(text: str, kind: str, limits: BuildLimits) -> Parsed:
    """Reads a model. Raises ValueError for what does not parse, or is past the limits."""
    depth = deepest = 0
    for brace in re.findall(r"[{}]", re.sub(r"#.*", "", text)):
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


def _store(path: Path, tables: bytes) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}{PART}")
    try:
        part.write_bytes(hashlib.sha256(tables).digest() + tables)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _set_limits(limits: BuildLimits) -> None:
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    for kind, limit in (
        (resource.RLIMIT_AS, mapped + limits.bytes),
        (resource.RLIMIT_FSIZE, limits.bytes),
        (resource.RLIMIT_CPU, max(1, round(limits.seconds))),
        (resource.RLIMIT_CORE, 0),
    ):
        _, most = resource.getrlimit(kind)
        limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
        resource.setrlimit(kind, (limit, limit))
