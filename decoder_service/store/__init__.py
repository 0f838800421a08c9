"""What a server keeps on disk: models by their hash, and a journal of every stream.

    StateFolder, set_aside, Retention    the folder: whose it is, what is kept of damage, what is deleted
    ModelStore, Upload, UploadBudget     texts of models; `ModelLimitError`, `UnknownModelError`
    Journal, JournalError                appends to the segments of a stream
    Segment, StreamHead, Position        names and heads of segments; `read_segment`: what is sound in one
    restore, Restored, RestoredStream    a stream as its journal left it
    replay, Sources, ReplayError         a segment decoded again

A journal's file, from top to bottom: `journal` (its records), `segment` (names, heads, reading), `replay`
(records to a decoder), `restore` (a stream that goes on). Who decodes is not known here: `Sources`.
"""

from decoder_service.store.folder import PART, Retention, StateFolder, set_aside
from decoder_service.store.journal import Journal, JournalError
from decoder_service.store.models import (
    ModelLimitError,
    ModelStore,
    UnknownModelError,
    Upload,
    UploadBudget,
)
from decoder_service.store.replay import ReplayError, Sources, replay
from decoder_service.store.restore import Restored, RestoredStream, restore
from decoder_service.store.segment import (
    HEAD,
    Position,
    Segment,
    StreamHead,
    read_segment,
    segments,
)

__all__ = [
    "HEAD",
    "PART",
    "Journal",
    "JournalError",
    "ModelLimitError",
    "ModelStore",
    "Position",
    "ReplayError",
    "Restored",
    "RestoredStream",
    "Retention",
    "Segment",
    "Sources",
    "StateFolder",
    "StreamHead",
    "UnknownModelError",
    "Upload",
    "UploadBudget",
    "read_segment",
    "replay",
    "restore",
    "segments",
    "set_aside",
]
