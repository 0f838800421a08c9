"""Decoders that a spare worker keeps warm, so that it can take over a dead one's streams at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from decoder_service.protocol import Open, decode_message, encode_message
from decoder_service.server.builder import Builder
from decoder_service.server.decoding import RoundDecoder
from decoder_service.server.models import ModelStore


def key_of(options: Open) -> bytes:
    """What two streams have in common that can use the same kind of decoder."""
    return encode_message(msgspec.structs.replace(options, resume_after=None))


class WarmSpare:
    """As many warm decoders of each kind as the service has streams of it."""

    def __init__(self, build: Callable[[Open, str], RoundDecoder], models: ModelStore, builder: Builder):
        self._build = build
        self._models = models
        self._builder = builder
        self._wanted: dict[bytes, int] = {}
        self._building: dict[bytes, int] = {}
        self._ready: dict[bytes, list[RoundDecoder]] = {}

    def want(self, key: bytes, count: int) -> None:
        """Has `count` decoders of this kind built, or drops those that are too many."""
        self._wanted[key] = count
        ready = self._ready.setdefault(key, [])
        del ready[count:]
        for _ in range(count - len(ready) - self._building.get(key, 0)):
            self._building[key] = self._building.get(key, 0) + 1
            self._builder.later(lambda: self._make(key), lambda decoder, error: self._made(key, decoder))
        if not count:
            del self._wanted[key], self._ready[key]

    def build(self, options: Open, text: str) -> RoundDecoder:
        """A warm decoder: one that is ready, or a new one. Raises ValueError as building does."""
        ready = self._ready.get(key_of(options))
        return ready.pop() if ready else self._build(options, text)

    def clear(self) -> None:
        """Keeps no decoders any more: this worker is not a spare now."""
        self._wanted.clear()
        self._ready.clear()

    def _make(self, key: bytes) -> RoundDecoder | None:
        options = decode_message(key, Open)
        text = self._models.get(options.model)
        return None if text is None or key not in self._wanted else self._build(options, text)

    def _made(self, key: bytes, decoder: Any) -> None:
        self._building[key] -= 1
        if not self._building[key]:
            del self._building[key]
        # Without a decoder it could not be built here; it will be tried again when it is needed.
        if decoder is not None and len(self._ready.get(key, ())) < self._wanted.get(key, 0):
            self._ready.setdefault(key, []).append(decoder)
