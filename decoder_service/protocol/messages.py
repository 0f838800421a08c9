"""Control messages: MessagePack maps with string keys, checked against these types on arrival.

Unknown keys are ignored, so that a later server may say more; missing or ill-typed ones are errors.
"""

from __future__ import annotations

import enum
from typing import Annotated, Literal, TypeVar

import msgspec

from decoder_service.protocol.frame import Frame, FrameType
from decoder_service.protocol.payloads import PayloadError

SessionId = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$", max_length=32)]
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$", max_length=64)]
Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Short = Annotated[str, msgspec.Meta(max_length=200)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=1 << 32)]


class ErrorCode(enum.IntEnum):
    """What ERROR says. The scope of each is in the message: frame, shot, stream or connection."""

    BAD_FRAME = 1
    """Damage on the wire, or a message that does not parse."""
    BAD_PAYLOAD = 2
    """Rows of another length than they must have, padding bits set, flags that do not belong."""
    BAD_SEQUENCE = 3
    """Rounds past the last, or a FINAL that does not end with the shot's last row."""
    STALE_EPOCH = 4
    """Rows of a shot that is over, or a RESET to one that has begun."""
    LATE = 5
    """The rounds were already decoded as erased."""
    CONFLICT = 6
    """Other bits were accepted for the same place before."""
    OVERLOAD = 7
    """More rows in flight than the credit window; those named were not accepted, send them again later."""
    SHOT_FAILED = 8
    UNKNOWN_STREAM = 9
    STREAM_EXISTS = 10
    LIMIT = 11
    UNKNOWN_MODEL = 12
    BAD_MODEL = 13
    """The model or the decoder's options do not make a decoder."""
    RELOAD_REJECTED = 14
    """The new model was not used; the old one goes on."""
    RELOAD_BUSY = 15
    JOURNAL_FAILED = 16
    RESUME_LOST = 17
    """The stream is not known, or outputs that the client has not seen are no longer kept."""
    UNAUTHORIZED = 18
    SUPERSEDED = 19
    """Another connection took over the session."""
    DRAINING = 20
    INTERNAL = 21
    TOO_MANY_FAULTS = 22
    HANDSHAKE = 23


Scope = Literal["frame", "shot", "stream", "connection"]


class Hello(msgspec.Struct, omit_defaults=True):
    """Client: who it is. `session` names its streams over reconnections: 128 random bits, in hex."""

    session: SessionId
    client: Short = ""
    token: Annotated[str, msgspec.Meta(max_length=512)] = ""


class Welcome(msgspec.Struct):
    """The server's HELLO."""

    server: str
    resumed: bool
    round_bytes: int
    control_bytes: int
    upload_bytes: int
    model_bytes: int
    streams: int
    clock_ns: int


class Open(msgspec.Struct, omit_defaults=True):
    """Opens the header's stream, or takes it up again after a reconnection (`resume_after`)."""

    model: Digest
    """SHA-256 of the text of a model the server has or was sent by UPLOAD."""
    kind: Literal["circuit", "dem"] = "circuit"
    input: Literal["measurements", "detectors"] = "measurements"
    commit: Positive | None = None
    buffer: Positive | None = None
    mode: Literal["sliding", "parallel"] = "sliding"
    decoder: Short = "pymatching"
    predecoder: Short | None = None
    rounds: Positive | None = None
    """Rounds of a shot; by default as many as the model has. Models whose rounds repeat may have
    shots of any length."""
    on_gap: Literal["erase", "fail"] = "erase"
    resume_after: Count | None = None
    """Resume: the number of COMMIT and RESULT frames received; later ones are sent again."""
    gap: bool = False
    """RESULTs say how sure the last window is (`Flag.GAP`); refused where the decoder has no gap."""


class Opened(msgspec.Struct):
    """The stream is warm and waits for the data frame `epoch`, `sequence`."""

    model: str
    model_id: str
    """What COMMIT calls the model, in hex."""
    rounds: int
    layers: list[tuple[int, int]]
    """Runs of (number of rounds, bits of each)."""
    final_bits: int
    num_observables: int
    window: int
    epoch: int
    sequence: int
    outputs: int
    """COMMIT and RESULT frames sent so far; the next has this number."""
    gap_deadline_ns: int


class Reload(msgspec.Struct):
    """Client: decode with this model from the next window boundary on."""

    model: Digest
    kind: Literal["circuit", "dem"] = "dem"


class Reloaded(msgspec.Struct):
    """Server: the model decodes from round `at_round` of the header's epoch on."""

    model: str
    model_id: str
    at_round: int


class Error(msgspec.Struct, omit_defaults=True):
    """Server: the header's epoch and sequence are those of the frame in question, where there is one."""

    code: ErrorCode
    scope: Scope
    message: str
    count: int = 1
    """Rows of the frame that are refused, from the header's place on."""


class Stats(msgspec.Struct):
    """Server: totals of the header's stream since it was opened. `erased` are rounds that were decoded
    with a bit erased, by the client or because they were lost."""

    rounds: int = 0
    shots: int = 0
    commits: int = 0
    duplicates: int = 0
    conflicts: int = 0
    nacks: int = 0
    erased: int = 0
    failed: int = 0
    late: int = 0
    overloads: int = 0
    in_flight: int = 0


class Close(msgspec.Struct):
    """Client: the stream is no longer needed (stream 0xffffffff: the session). Server: done."""

    outputs: int = 0


M = TypeVar("M", bound=msgspec.Struct)
_ENCODER = msgspec.msgpack.Encoder()
_DECODERS: dict[type, msgspec.msgpack.Decoder] = {}


def encode_message(message: msgspec.Struct) -> bytes:
    """MessagePack of a control message."""
    return _ENCODER.encode(message)


def decode_message(payload: bytes, kind: type[M]) -> M:
    """Raises PayloadError where the payload is not MessagePack or not a message of this kind."""
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.msgpack.Decoder(kind)
    try:
        return decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PayloadError(f"not a {kind.__name__} message: {error}") from error


def error_frame(stream: int, code: ErrorCode, scope: Scope, message: str) -> Frame:
    """An ERROR about a stream, or, with stream 0 and scope connection, about all."""
    return Frame(FrameType.ERROR, stream, payload=encode_message(Error(code, scope, message[:1000])))
