"""Rows of data frames into order: duplicates, gaps, deadlines, the credit window. No I/O, no clock.

Ordinals (`StreamShape.ordinal`) put the rows of all shots of a stream in one line:

    ... history | ready: in order, not decoded | gap | held: past a gap |  refused: past the window
                ^ decoded                      ^ expected               ^ decoded + window

`decoded` is what the peer is told in CREDIT; everything in flight is in `ready` or `held`, so memory is
bounded by the window and by the history of as many rows again, times `HISTORY_WINDOWS`.
"""

from __future__ import annotations

from collections import deque

from decoder_service.protocol import Flag, Frame, FrameType, PayloadError, WireFault, block_rows, split_block
from decoder_service.protocol.frame import new
from decoder_service.session.rows import AcceptResult, Gap, Judged, OrderingConfig, Row, Skip, erased_round
from decoder_service.session.shape import StreamShape

HISTORY_WINDOWS = 4
"""Credit windows of accepted rows that are kept to tell a duplicate from a conflict."""
LAST_EPOCH = (1 << 32) - 1
"""No shot has this epoch, so that the one after any shot still fits the header."""
NACKS_PER_DEADLINE = 4
"""A gap is asked for at once, and again this many times before its deadline, less one."""

# Plain numbers: operations on enum members would be most of the time that a row takes here.
_ERASED = int(Flag.ERASED)
_RESENT = int(Flag.RESENT)
_SYNTHETIC = int(Flag.SYNTHETIC)
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
        self._held: dict[int, Row] = {}
        self._history: dict[int, Row | None] = {}
        """By ordinal: what duplicates are compared with, None where the row was lost and erased."""
        self._gap_since: int | None = None
        self._next_nack = 0
        self._lost = start
        """Ordinals below this are known to have been sent, because a damaged one arrived."""
        self._lost_since = 0
        self._deadlines_from = 0

    @property
    def in_flight(self) -> int:
        """Rows held or ready, not decoded."""
        return len(self._ready) + len(self._held)

    @property
    def has_ready(self) -> bool:
        """Whether `take` has something."""
        return bool(self._ready)

    def accept(self, frame: Frame, now: int) -> list[Judged]:
        """Judges the rows of a ROUNDS or FINAL frame, and takes in those that are new and in the window.

        Each row is judged as if it had come alone, in order; a frame that does not fit is refused whole.
        """
        rows = self._rows(frame)
        if isinstance(rows, AcceptResult):
            return [Judged(rows, frame.sequence, 1)]
        judged: list[Judged] = []
        for sequence, (bits, erased) in enumerate(rows, start=frame.sequence):
            row = new(Row, (frame.epoch, sequence, bits, _ERASED if erased else 0, now))
            result = self._accept_row(row)
            if judged and judged[-1].result is result:
                judged[-1] = judged[-1]._replace(count=judged[-1].count + 1)
            else:
                judged.append(Judged(result, sequence, 1))
        if any(run.result is AcceptResult.ACCEPTED for run in judged):
            self._advance()
        return judged

    def _rows(self, frame: Frame) -> list[tuple[bytes, bool]] | AcceptResult:
        """The rows of a frame, or why it has none that fit."""
        rounds = self.shape.rounds
        final = frame.type == FrameType.FINAL
        try:
            count = block_rows(frame.payload)
            stop = frame.sequence + count
            if (stop != rounds + 1 if final else stop > rounds) or frame.epoch >= LAST_EPOCH:
                return AcceptResult.BAD_SEQUENCE
            widths = self.shape.widths(frame.sequence, count)
            rows = split_block(frame.payload, widths=widths, flags=frame.flags)
        except PayloadError:
            return AcceptResult.BAD_PAYLOAD
        if frame.flags & _FOREIGN or (final and rows[-1][1]):
            return AcceptResult.BAD_PAYLOAD
        return rows

    def _accept_row(self, row: Row) -> AcceptResult:
        ordinal = self.shape.ordinal(row.epoch, row.sequence)
        if ordinal < self.expected:
            if ordinal not in self._history:
                return AcceptResult.STALE
            known = self._history[ordinal]
            return AcceptResult.LATE if known is None else self._compare(row, known)
        if ordinal >= self.decoded + self.config.window:
            return AcceptResult.OVERLOAD
        held = self._held.get(ordinal)
        if held is not None:
            return self._compare(row, held)
        self._held[ordinal] = row
        return AcceptResult.ACCEPTED

    def damaged(self, fault: WireFault, now: int) -> None:
        """Notes that these rows were sent and arrived damaged."""
        first, limit = self.shape.ordinal(fault.epoch, fault.sequence), self.decoded + self.config.window
        if fault.sequence > self.shape.rounds or fault.epoch >= LAST_EPOCH or first >= limit:
            return
        masked = bool(fault.flags & _ERASED)
        stop = min(limit, first + self.shape.rows_in(fault.sequence, fault.length, masked=masked))
        if stop > max(self.expected, self._lost):
            if self._lost <= self.expected:
                self._lost_since = now
            self._lost = stop
            self._watch(progressed=False)

    def gaps(self) -> list[Gap]:
        """Runs of rows that are missing before one that is known to have been sent, in order."""
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
            self._held[ordinal] = erased_round(self.shape, *self.shape.place(ordinal), now)
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
            self._history = {at: known for at, known in self._history.items() if at > oldest}
            return
        self.decoded += 1
        self._history.pop(self.decoded - HISTORY_WINDOWS * self.config.window, None)
        if item.sequence == self.shape.rounds:
            self.conflicts.discard(item.epoch)

    def _advance(self) -> None:
        """Moves held rows that are in order now to `ready`."""
        before = self.expected
        while (row := self._held.pop(self.expected, None)) is not None:
            self._ready.append(row)
            self._history[self.expected] = None if row.flags & _SYNTHETIC else row
            self.expected += 1
        self._watch(progressed=self.expected != before)

    def _watch(self, *, progressed: bool) -> None:
        """Starts and stops the clock of the first gap: it is as old as the first row past it."""
        if progressed:
            self._gap_since = None
        if self._gap_since is None and (self._held or self._lost > self.expected):
            since = [row.arrived for row in self._held.values()]
            since += [self._lost_since] if self._lost > self.expected else []
            self._gap_since = self._next_nack = max(min(since), self._deadlines_from)

    def _compare(self, row: Row, known: Row) -> AcceptResult:
        if row.bits == known.bits and row.erased == known.erased:
            return AcceptResult.DUPLICATE
        if self.shape.ordinal(row.epoch, self.shape.rounds) >= self.decoded:
            self.conflicts.add(row.epoch)
        return AcceptResult.CONFLICT
