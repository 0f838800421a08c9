"""Decoders of streams, built from what a client names: the text of a model, and the options of its OPEN.

    build_decoder, BuildLimits      a text read and a decoder built in this process, within limits of size
    ServedDecoder                   that decoder, in packed rows of the wire
    Build, build_of                 what has to be built for an OPEN or a RELOAD, under one key
    store_tables, stored_tables     it is built in a process of its own (`server.watcher`), and kept in files
    tables_for                      the same in memory
    decoder_from, reload_from       what is made of tables; `BuiltSources` both, for a replay of journals

Which process does what, and for how long, is not known here.
"""

from decoder_service.building.model import BuildLimits, build_decoder
from decoder_service.building.served_decoder import ServedDecoder
from decoder_service.building.tables import (
    Build,
    BuiltSources,
    build_of,
    decoder_from,
    reload_from,
    store_tables,
    stored_tables,
    tables_for,
)

__all__ = [
    "Build",
    "BuildLimits",
    "BuiltSources",
    "ServedDecoder",
    "build_decoder",
    "build_of",
    "decoder_from",
    "reload_from",
    "store_tables",
    "stored_tables",
    "tables_for",
]
