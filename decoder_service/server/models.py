"""Circuits and detector error models by the SHA-256 of their text, in a folder all workers share."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from decoder_service.wire import PayloadError, UploadPayload


class ModelLimitError(ValueError):
    """A model is larger than allowed, or there are too many."""


class ModelStore:
    """Texts as files named by their digest; what is stored never changes.

    Args:
        folder: created if it is absent, with mode 0700.
        max_bytes: of one text.
        max_models: files in the folder.
    """

    def __init__(self, folder: Path, *, max_bytes: int, max_models: int) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.max_bytes = max_bytes
        self.max_models = max_models

    def __contains__(self, digest: str) -> bool:
        return (self.folder / digest).is_file()

    def get(self, digest: str) -> str | None:
        """The text, or None if it was never stored."""
        try:
            return (self.folder / digest).read_text()
        except FileNotFoundError:
            return None

    def put(self, text: bytes) -> str:
        """Stores a text and returns its digest, in hex.

        Raises:
            ModelLimitError: too large, or too many.
            OSError: the disk is full, or the like; nothing is left behind.
        """
        digest = hashlib.sha256(text).hexdigest()
        target = self.folder / digest
        if target.is_file():
            return digest
        if len(text) > self.max_bytes:
            raise ModelLimitError(f"a model of {len(text)} bytes; the limit is {self.max_bytes}")
        if sum(1 for _ in self.folder.iterdir()) >= self.max_models:
            raise ModelLimitError(f"{self.max_models} models are stored already, which is the limit")
        part = self.folder / f"{digest}.{os.getpid()}.part"
        try:
            part.write_bytes(text)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return digest


class Upload:
    """The parts of one text, in order; bounded by the store's limit."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store
        self._digest = b""
        self._parts = bytearray()

    def add(self, upload: UploadPayload) -> str | None:
        """Takes a part; returns the digest in hex once the text is complete and stored.

        Raises:
            PayloadError: a part out of order, or a text that does not have its digest.
            ModelLimitError, OSError: as `ModelStore.put`.
        """
        if upload.total > self._store.max_bytes:
            raise ModelLimitError(f"a model of {upload.total} bytes; the limit is {self._store.max_bytes}")
        if upload.offset == 0:
            self._digest, self._parts = upload.digest, bytearray()
        if upload.digest != self._digest or upload.offset != len(self._parts):
            raise PayloadError(
                f"UPLOAD part at {upload.offset}; the next one is at {len(self._parts)}, start again at 0"
            )
        self._parts += upload.part
        if len(self._parts) < upload.total:
            return None
        text, self._parts = bytes(self._parts), bytearray()
        if hashlib.sha256(text).digest() != upload.digest:
            raise PayloadError(f"the text does not have the SHA-256 {upload.digest.hex()}")
        return self._store.put(text)
