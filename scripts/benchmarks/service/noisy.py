"""A client whose data frames suffer on their way out."""

from __future__ import annotations

import random

from decoder_service.client import DecoderClient
from decoder_service.client.link import send_all
from decoder_service.protocol import Frame, FrameType, encode_frame

__all__ = ["NoisyClient"]

DATA = (FrameType.ROUNDS, FrameType.FINAL)


class NoisyClient(DecoderClient):
    """Repeats, delays, loses, cuts and damages data frames, once it has an `rng`.

    Attributes:
        rng: decides what happens to a frame; None for nothing.
        odds: five in so many data frames are mistreated.
    """

    rng: random.Random | None = None
    odds = 20
    _held: Frame | None = None

    def send(self, *frames: Frame) -> None:
        """As `DecoderClient`."""
        if self.rng is None:
            super().send(*frames)
            return
        data = b""
        for frame in frames:
            data += self._mistreated(frame, self.rng) if frame.type in DATA else encode_frame(frame)
            if self._held is not None and self.rng.randrange(3) == 0:
                data += encode_frame(self._held)
                self._held = None
        send_all(self.sock, data, timeout=self.timeout)

    def _mistreated(self, frame: Frame, rng: random.Random) -> bytes:
        encoded, how = encode_frame(frame), rng.randrange(self.odds)
        if how == 0:
            return 2 * encoded
        if how == 1 and self._held is None:
            self._held = frame
            return b""
        if how == 2:
            return b""
        if how == 3:
            return encoded[: rng.randrange(len(encoded))]
        if how == 4:
            damaged = bytearray(encoded)
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
            return bytes(damaged)
        return encoded
