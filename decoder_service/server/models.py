"""Circuits and detector error models by the SHA-256 of their text, in a folder all workers share."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path

from decoder_service.protocol import PayloadError, UploadPayload


class ModelLimitError(ValueError):
    """A model is larger than allowed, or there are too many."""


class UnknownModelError(ValueError):
    """A digest of which there is no text."""


class ModelStore:
    """Texts as files named by their digest; what is stored never changes.

    Args:
        folder: created if it is absent, with mode 0700.
        max_bytes: of one text.
        max_models: files in the folder.
        unused_after: seconds after the last `touch` from which a text may make room for another, as the
            models of a service that learns its noise must; None to keep all.
    """

    def __init__(
        self, folder: Path, *, max_bytes: int, max_models: int, unused_after: float | None = None
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.max_bytes = max_bytes
        self.max_models = max_models
        self._unused_after = unused_after

    def __contains__(self, digest: str) -> bool:
        return (self.folder / digest).is_file()

    def get(self, digest: str) -> str | None:
        """The text, or None if it was never stored."""
        try:
            return (self.folder / digest).read_text()
        except FileNotFoundError:
            return None

    def text(self, digest: str) -> str:
        """The text. Raises UnknownModelError if it was never stored, or is no longer."""
        text = self.get(digest)
        if text is None:
            raise UnknownModelError(f"model {digest[:16]} was never uploaded")
        return text

    def touch(self, digest: str) -> None:
        """Says that a text is in use."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.folder / digest)

    def put(self, text: bytes, *, digest: bytes | None = None) -> str:
        """Stores a text and returns its digest, in hex.

        Args:
            text: UTF-8.
            digest: what the SHA-256 should be.

        Raises:
            PayloadError: the text has another digest.
            ModelLimitError: too large, or too many.
            OSError: the disk is full, or the like; nothing is left behind.
        """
        found = hashlib.sha256(text)
        if digest is not None and found.digest() != digest:
            raise PayloadError(f"the text does not have the SHA-256 {digest.hex()}")
        name = found.hexdigest()
        target = self.folder / name
        if target.is_file():
            self.touch(name)
            return name
        if len(text) > self.max_bytes:
            raise ModelLimitError(f"a model of {len(text)} bytes; the limit is {self.max_bytes}")
        if sum(1 for _ in self.folder.iterdir()) >= self.max_models and not self._make_room():
            raise ModelLimitError(f"{self.max_models} models are stored already, which is the limit")
        part = self.folder / f"{name}.{os.getpid()}.part"
        try:
            part.write_bytes(text)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return name

    def _make_room(self) -> bool:
        """Deletes the text that was not used for longest, if that is long enough."""
        if self._unused_after is None:
            return False
        oldest = min(self.folder.iterdir(), key=lambda path: path.stat().st_mtime)
        if time.time() - oldest.stat().st_mtime < self._unused_after:
            return False
        oldest.unlink(missing_ok=True)
        return True


class Upload:
    """The parts of one text, in order; at most `max_bytes` of them."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._digest = b""
        self._parts = bytearray()

    def add(self, upload: UploadPayload) -> bytes | None:
        """Takes a part; returns the text once it is complete.

        Raises:
            PayloadError: a part out of order.
            ModelLimitError: the text is too large.
        """
        if upload.total > self._max_bytes:
            raise ModelLimitError(f"a model of {upload.total} bytes; the limit is {self._max_bytes}")
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
        return text
