"""Circuits and detector error models by the SHA-256 of their text, in a folder all workers share."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
import time
from pathlib import Path

from decoder_service.protocol import PayloadError, UploadPayload
from decoder_service.store.folder import PART, StateFolder, set_aside

log = logging.getLogger("decoder_service")
IN_USE = 180.0
"""Seconds after the last `touch` for which a text is kept, however many there are: three missed touches."""


class ModelLimitError(ValueError):
    """A model is larger than allowed, or there are too many."""


class UnknownModelError(ValueError):
    """A digest of which there is no text."""


class ModelStore:
    """Texts as files named by their digest; what is stored never changes, and is checked when it is read.

    Args:
        state: whose `models` folder is created if it is absent, with mode 0700.
        max_bytes: of one text.
        max_models: texts that are kept; the one that was not used for longest makes room for a new one.
        in_use: seconds after the last `touch` for which a text makes no room.
    """

    def __init__(
        self, state: StateFolder, *, max_bytes: int, max_models: int, in_use: float = IN_USE
    ) -> None:
        self.folder = state.models
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.max_bytes = max_bytes
        self.max_models = max_models
        self._damaged = state.damaged
        self._in_use = in_use

    def __contains__(self, digest: str) -> bool:
        return self.get(digest) is not None

    def get(self, digest: str) -> str | None:
        """The text, or None if there is none of this digest.

        A file whose content has another digest is set aside, so that the text can be uploaded again.

        Raises:
            ValueError: the text is not UTF-8.
        """
        path = self.folder / digest
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        if hashlib.sha256(data).hexdigest() != digest:
            kept = set_aside(path, self._damaged)
            path.unlink(missing_ok=True)
            log.error("model damaged", extra={"model": digest[:16], "copy": str(kept)})
            return None
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"model {digest[:16]} is not a text in UTF-8: {error.reason}") from error

    def text(self, digest: str) -> str:
        """The text, which counts as a use of it. Raises UnknownModelError if there is none."""
        text = self.get(digest)
        if text is None:
            raise UnknownModelError(f"model {digest[:16]} is not stored here; upload it")
        self.touch(digest)
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
            ModelLimitError: too large, or all that may be stored are in use.
            OSError: the disk is full, or the like; nothing is left behind.
        """
        found = hashlib.sha256(text)
        if digest is not None and found.digest() != digest:
            raise PayloadError(f"the text does not have the SHA-256 {digest.hex()}")
        name = found.hexdigest()
        target = self.folder / name
        if len(text) > self.max_bytes:
            raise ModelLimitError(f"a model of {len(text)} bytes; the limit is {self.max_bytes}")
        if self._holds(target, text):
            self.touch(name)
            return name
        if target.exists():
            kept = set_aside(target, self._damaged)
            log.error("model damaged", extra={"model": name[:16], "copy": str(kept)})
        else:
            self._make_room()
        part = self.folder / f"{name}.{os.getpid()}{PART}"
        try:
            part.write_bytes(text)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return name

    def _holds(self, path: Path, text: bytes) -> bool:
        try:
            return path.read_bytes() == text
        except FileNotFoundError:
            return False

    def _make_room(self) -> None:
        """Deletes texts, those not used for longest first, until one more may be stored."""
        ages: list[tuple[float, Path]] = []
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another worker made room
                if path.suffix != PART:
                    ages.append((path.stat().st_mtime, path))
        ages.sort()
        while len(ages) >= self.max_models:
            used, oldest = ages.pop(0)
            if time.time() - used < self._in_use:
                raise ModelLimitError(
                    f"{self.max_models} models are stored, which is the limit, and all were in use in the "
                    f"last {self._in_use:g} s"
                )
            oldest.unlink(missing_ok=True)


class UploadBudget:
    """Memory for texts that are being uploaded, shared by the sessions of a worker.

    An upload that finds none takes that of the one that got nothing for longest, which has to start again.
    Texts that are whole and wait to be stored keep theirs.

    Args:
        max_bytes: of one text, and of all together twice as many.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.lock = threading.Lock()
        self._held: dict[Upload, bytearray] = {}
        """The parts of each unfinished upload, the one that got some last at the end."""
        self._whole = 0
        """Bytes of texts that wait to be stored."""

    def parts(self, upload: Upload) -> bytearray:
        """What an upload has so far."""
        return self._held.get(upload) or bytearray()

    def hold(self, upload: Upload, parts: bytearray) -> None:
        """Keeps what an upload has, or nothing. Raises ModelLimitError where there is no room."""
        self._held.pop(upload, None)
        room = 2 * self.max_bytes - self._whole - len(parts)
        while self._held and sum(map(len, self._held.values())) > room:
            del self._held[next(iter(self._held))]
        if parts and room < 0:
            raise ModelLimitError(
                f"{self._whole} bytes of other models wait to be stored; send this one again when they are"
            )
        if parts:
            self._held[upload] = parts

    def complete(self, upload: Upload) -> bytes:
        """The text of an upload, which counts until it is `stored`."""
        text = bytes(self._held.pop(upload, b""))
        self._whole += len(text)
        return text

    def stored(self, text: bytes) -> None:
        """A text is stored, or refused: there is room again. From any thread."""
        with self.lock:
            self._whole -= len(text)


class Upload:
    """The parts of one text, in order; sessions of several threads may share the budget."""

    def __init__(self, budget: UploadBudget) -> None:
        self._budget = budget
        self._digest = b""

    def add(self, upload: UploadPayload) -> bytes | None:
        """Takes a part; returns the text once it is complete: `UploadBudget.stored` is to follow.

        Raises:
            PayloadError: a part out of order, or after others that made room for another upload.
            ModelLimitError: the text is too large, or there is no room for it now.
        """
        budget = self._budget
        if upload.total > budget.max_bytes:
            raise ModelLimitError(f"a model of {upload.total} bytes; the limit is {budget.max_bytes}")
        with budget.lock:
            parts = budget.parts(self)
            if upload.offset == 0:
                self._digest, parts = upload.digest, bytearray()
            if upload.digest != self._digest or upload.offset != len(parts):
                raise PayloadError(
                    f"UPLOAD part at {upload.offset}; the next one is at {len(parts)}, start again at 0"
                )
            parts += upload.part
            budget.hold(self, parts)
            if len(parts) < upload.total:
                return None
            return budget.complete(self)

    def drop(self) -> None:
        """Forgets what came so far."""
        with self._budget.lock:
            self._budget.hold(self, bytearray())
