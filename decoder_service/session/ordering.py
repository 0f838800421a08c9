"""Data frames into order: duplicates, gaps, deadlines and the credit window. No I/O, no clock of its own.

Ordinals (`StreamShape.ordinal`) put the frames of all shots of a stream in one line:

    ... history | ready: in order, not decoded | gap | held: past a gap |  refused: past the window
                ^ decoded                      ^ expected               ^ decoded + window

`decoded` is what the peer is told in CREDIT; everything in flight is in `ready` or `held`, so memory is
bounded by the window and by the history of as many frames again, times `HISTORY_WINDOWS`.
"""

from __future__ import annotations

from collections import deque

from decoder_service.protocol import Flag, Frame, FrameType, PayloadError, split_row
from decoder_service.protocol.frame import new
from decoder_service.session.rows import AcceptResult, Gap, OrderingConfig, Row, Skip, erased_round
from decoder_service.session.shape import StreamShape

HISTORY_WINDOWS = 4
"""Credit windows of accepted frames that are kept to tell a duplicate from a conflict."""
LAST_EPOCH = (1 << 32) - 1
"""No shot has this epoch, so that the one after any shot still fits the header."""
NACKS_PER_DEADLINE = 4
"""A gap is asked for at once, and again this many times before its deadline, less one."""

# Plain numbers: operations on enum members would be most of the time that a frame takes here.
_ERASED = int(Flag.ERASED)
_RESENT = int(Flag.RESENT)
_SYNTHETIC = int(Flag.SYNTHETIC)
_FINAL = int(FrameType.FINAL)
_FOREIGN = 0xFFFF & ~(_ERASED | _RESENT)
"""Flags that a client's data frame must not have."""


class Ordering:
    """The ordering half of a stream. Times are nanoseconds of one monotonic clock, given by the caller."""

    def __init__(self, shape: StreamShape, config: OrderingConfig, *, start: int = 0) -> None:
        self.shape = shape
        self.config = config
        self.decoded = start
        self.expected = start
        self.conflicts: set[int] = set()
        """Epochs with a conflict, until their shot is over."""
        self._ready: deque[Row | Skip] = deque()
        self._held: dict[int, tuple[Row, bytes]] = {}
        """By ordinal: the row, and the payload that duplicates are compared with."""
        self._history: dict[int, tuple[int, bytes] | None] = {}
        self._gap_since: int | None = None
        self._next_nack = 0
        self._lost = start
        """Ordinals below this are known to have been sent, because a damaged one arrived."""
        self._lost_since = 0
        self._deadlines_from = 0

    @property
    def in_flight(self) -> int:
        """Data frames held or ready, not decoded."""
        return len(self._ready) + len(self._held)

    @property
    def has_ready(self) -> bool:
        """Whether `take` has something."""
        return bool(self._ready)

    def accept(self, frame: Frame, now: int) -> AcceptResult:
        """Judges a ROUND or FINAL, and takes it in if it is new, sound and inside the window."""
        shape = self.shape
        sequence = frame.sequence
        final = frame.type == FrameType.FINAL
        if (sequence != shape.rounds if final else sequence >= shape.rounds) or frame.epoch >= LAST_EPOCH:
            return AcceptResult.BAD_SEQUENCE
        ordinal = shape.ordinal(frame.epoch, sequence)
        if ordinal < self.expected:
            return self._again(ordinal, frame)
        if ordinal >= self.decoded + self.config.window:
            return AcceptResult.OVERLOAD
        known = self._held.get(ordinal)
        if known is not None:
            return self._compare(frame, known[0].flags, known[1])
        flags = frame.flags
        if flags and (flags & _FOREIGN or (final and flags & _ERASED)):
            return AcceptResult.BAD_PAYLOAD
        try:
            bits, erased = split_row(frame.payload, bits=shape.bits(sequence), flags=flags)
        except PayloadError:
            return AcceptResult.BAD_PAYLOAD
        self._held[ordinal] = (Row(frame.epoch, sequence, bits, erased, flags, now), frame.payload)
        self._advance()
        return AcceptResult.ACCEPTED

    def decode_now(self, frame: Frame, now: int) -> Row | None:
        """The frame as the row to decode now, if it is plain, the next, and the only one in flight.

        Nearly all frames of a client that keeps up are. It is accepted then; None leaves it to `accept`.
        """
        kind, _, epoch, sequence, payload, flags = frame
        expected = self.expected
        shape = self.shape
        rounds = shape.rounds
        if (
            flags
            or self._ready
            or self._held
            or expected != self.decoded
            or self._lost > expected
            or epoch >= LAST_EPOCH
            or sequence > rounds  # or it would pass for the next shot's
            or epoch * (rounds + 1) + sequence != expected
            or (kind == _FINAL) != (sequence == rounds)
        ):
            return None
        bits = shape.bits(sequence)
        rest = bits & 7
        if len(payload) != (bits + 7) >> 3 or (rest and payload[-1] >> rest):
            return None
        self._history[expected] = (0, payload)
        self.expected = expected + 1
        return new(Row, (epoch, sequence, payload, None, 0, now))

    def damaged(self, epoch: int, sequence: int, now: int) -> None:
        """Notes that this data frame was sent and arrived damaged."""
        if sequence > self.shape.rounds:
            return
        ordinal = self.shape.ordinal(epoch, sequence)
        if max(self.expected, self._lost) <= ordinal < self.decoded + self.config.window:
            if self._lost <= self.expected:
                self._lost_since = now
            self._lost = ordinal + 1
            self._watch(progressed=False)

    def gaps(self) -> list[Gap]:
        """Runs of frames that are missing before one that is known to have been sent, in order."""
        if not self._held and self._lost <= self.expected:
            return []
        found: list[Gap] = []
        at = self.expected
        for ordinal in [*sorted(self._held), self._lost]:
            if ordinal > at:
                found.append(Gap(at, ordinal))
            at = max(at, ordinal + 1)
        return found

    def nacks_due(self, now: int) -> list[Gap]:
        """The gaps to ask for now: at once when the first appears, then at intervals to its deadline."""
        if self._gap_since is None or now < self._next_nack:
            return []
        self._next_nack = now + max(1, self.config.gap_deadline // NACKS_PER_DEADLINE)
        return self.gaps()

    def deadline_left(self, now: int) -> int:
        """Nanoseconds until the first gap's deadline."""
        since = now if self._gap_since is None else self._gap_since
        return max(0, since + self.config.gap_deadline - now)

    def next_deadline(self) -> int | None:
        """When `nacks_due` or `overdue` has something to do next, if nothing arrives."""
        if self._gap_since is None:
            return None
        return min(self._next_nack, self._gap_since + self.config.gap_deadline)

    def overdue(self, now: int) -> Gap | None:
        """The first gap, once its deadline has passed."""
        if self._gap_since is None or now < self._gap_since + self.config.gap_deadline:
            return None
        gaps = self.gaps()
        return gaps[0] if gaps else None

    def erase(self, gap: Gap, now: int) -> None:
        """Puts erased rounds in the place of the first gap, which holds no FINAL."""
        for ordinal in range(gap.first, gap.stop):
            self._held[ordinal] = (erased_round(self.shape, *self.shape.place(ordinal), now), b"")
        self._advance()

    def resume_deadlines(self, now: int) -> None:
        """Starts the deadlines of gaps again: until now the peer could not be heard."""
        self._deadlines_from = now
        if self._gap_since is not None:
            self._gap_since = self._next_nack = now

    def abandon(self, skip: Skip) -> None:
        """Drops what is in flight of these shots; `skip` comes out of `take` in their place."""
        ready = self._ready
        self._ready = deque(item for item in ready if item.epoch < skip.epoch)
        self._ready.append(skip)
        self._ready.extend(item for item in ready if item.epoch >= skip.next_epoch)
        start = self.shape.ordinal(skip.epoch, 0)
        stop = self.shape.ordinal(skip.next_epoch, 0)
        for kept in (self._held, self._history):
            for ordinal in [ordinal for ordinal in kept if start <= ordinal < stop]:
                del kept[ordinal]
        self.conflicts = {at for at in self.conflicts if not skip.epoch <= at < skip.next_epoch}
        if self.expected < stop:
            self.expected = stop
            self._watch(progressed=True)
            self._advance()

    def take(self) -> Row | Skip | None:
        """The next item in order, to be worked on and then counted by `done`."""
        return self._ready.popleft() if self._ready else None

    def done(self, item: Row | Skip) -> None:
        """The item taken last is dealt with: the window moves on."""
        if isinstance(item, Skip):
            self.decoded = max(self.decoded, self.shape.ordinal(item.next_epoch, 0))
            oldest = self.decoded - HISTORY_WINDOWS * self.config.window
            self._history = {at: known for at, known in self._history.items() if at >= oldest}
            return
        self.decoded += 1
        self._history.pop(self.decoded - HISTORY_WINDOWS * self.config.window, None)
        if item.sequence == self.shape.rounds:
            self.conflicts.discard(item.epoch)

    def _advance(self) -> None:
        """Moves held frames that are in order now to `ready`."""
        before = self.expected
        while (entry := self._held.pop(self.expected, None)) is not None:
            row, payload = entry
            self._ready.append(row)
            self._history[self.expected] = None if row.flags & _SYNTHETIC else (row.flags, payload)
            self.expected += 1
        self._watch(progressed=self.expected != before)

    def _watch(self, *, progressed: bool) -> None:
        """Starts and stops the clock of the first gap: it is as old as the first frame past it."""
        if progressed:
            self._gap_since = None
        if self._gap_since is None and (self._held or self._lost > self.expected):
            since = [row.arrived for row, _ in self._held.values()]
            since += [self._lost_since] if self._lost > self.expected else []
            self._gap_since = self._next_nack = max(min(since), self._deadlines_from)

    def _again(self, ordinal: int, frame: Frame) -> AcceptResult:
        if ordinal not in self._history:
            return AcceptResult.STALE
        known = self._history[ordinal]
        return AcceptResult.LATE if known is None else self._compare(frame, *known)

    def _compare(self, frame: Frame, flags: int, payload: bytes) -> AcceptResult:
        if frame.payload == payload and (frame.flags ^ flags) & ~_RESENT == 0:
            return AcceptResult.DUPLICATE
        if self.shape.ordinal(frame.epoch, self.shape.rounds) >= self.decoded:
            self.conflicts.add(frame.epoch)
        return AcceptResult.CONFLICT
