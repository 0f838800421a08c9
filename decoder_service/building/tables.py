"""Tables of a stream's decoder: built from a model once, kept in files, and loaded where streams are served.

What a client sends as a model may ask for more time or memory than there is, or end the process that reads
it. So a process within limits reads it first (`store_tables`); workers load the tables that it leaves.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from decoder_service.building.model import BuildLimits, build_decoder, build_reload
from decoder_service.building.served_decoder import ServedDecoder
from decoder_service.protocol import Open, Reload
from decoder_service.store import PART, ModelStore, StateFolder
from decoder_service.streaming import PreparedStream, SerializedModel, StreamDecoder, StreamModel

FORMAT = 1
"""Of the files; to be raised with every change of what is in them."""
_DIGEST_BYTES = 32
_REFUSED = (ValueError, IndexError, OverflowError)
"""What a model that cannot be used leads to; Stim raises the second for an unknown instruction."""


class Build(msgspec.Struct, tag=True):
    """The tables of a stream, or those of a model that is to take over from it.

    `key` names their file; `current` is the model that has taken over before, if one has.
    """

    key: str
    options: Open
    current: Reload | None = None
    reload: Reload | None = None


def build_of(options: Open, *, current: Reload | None = None, reload: Reload | None = None) -> Build:
    """The tables of a stream with these options, or of the model `reload` that takes over from `current`."""
    options = msgspec.structs.replace(options, resume_after=None, on_gap="erase")
    version = importlib.metadata.version("qecpipe")
    named = msgspec.msgpack.encode((FORMAT, version, options, current, reload))
    return Build(hashlib.sha256(named).hexdigest(), options, current, reload)


def store_tables(state: StateFolder, build: Build, limits: BuildLimits) -> str:
    """Builds tables and stores them; why that cannot be, or "" once they are there."""
    try:
        store = ModelStore(state, max_bytes=limits.bytes, max_models=1)
        tables = tables_for(build, store.text, limits)
        if len(tables) > limits.tables:
            return f"its decoder's tables have {len(tables)} bytes; the limit is {limits.tables}"
        path = state.tables / build.key
        part = path.with_name(f"{path.name}.{os.getpid()}{PART}")
        try:
            part.write_bytes(hashlib.sha256(tables).digest() + tables)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except MemoryError:
        return f"it needs more than {limits.bytes >> 20} MiB of memory"
    except OSError as failure:
        return f"its tables cannot be stored: {failure.strerror or failure}"
    except _REFUSED as refusal:
        return str(refusal)
    return ""


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
    with contextlib.suppress(FileNotFoundError):  # another process found it damaged, or deleted it
        os.utime(path)  # those that were not used for longest are deleted first
    return tables


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
        decoder.inner.adopt(build_reload(decoder, build.current, text_of, limits))
    model = build_reload(decoder, build.reload, text_of, limits)
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
    return build_reload(decoder, build.reload, text_of, BuildLimits())


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
