"""One stream of the protocol, without sockets, clocks or decoders: frames and times in, frames out.

The server's loop is the other half:

    replies = session.receive(frame, now)        # judged, put in order, answered where it must be
    while (item := session.take()) is not None:  # rows to decode, shots to abandon, models to swap
        replies += session.decoded(item, outcomes) | session.skipped(item) | session.swapped(item)
    replies += session.credit(force=idle); session.tick(now) at session.next_deadline()

The Semantics section of docs/protocol.md is the specification of this file and `ordering`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from decoder_service.protocol import (
    CreditPayload,
    Error,
    ErrorCode,
    Flag,
    Frame,
    FrameType,
    NackPayload,
    Reload,
    Reloaded,
    Scope,
    Stats,
    WireFault,
    encode_credit,
    encode_message,
    encode_nack,
    packed_bytes,
)
from decoder_service.session.ordering import LAST_EPOCH, Ordering
from decoder_service.session.outputs import Outcome, OutputLog
from decoder_service.session.rows import AcceptResult, Gap, Judged, OrderingConfig, Row, Skip
from decoder_service.session.shape import StreamShape

_DEGRADED = int(Flag.DEGRADED)  # plain numbers, for speed; see `ordering`
_CONFLICT = int(Flag.CONFLICT)
_INHERITED = _DEGRADED | _CONFLICT
_KINDS = (FrameType.COMMIT, FrameType.RESULT)

_REFUSALS = {
    AcceptResult.STALE: (ErrorCode.STALE_EPOCH, "the shot is over, or the row too old to compare"),
    AcceptResult.LATE: (ErrorCode.LATE, "the round was lost and decoded as erased"),
    AcceptResult.CONFLICT: (ErrorCode.CONFLICT, "other bits were accepted here; the first are used"),
    AcceptResult.BAD_PAYLOAD: (
        ErrorCode.BAD_PAYLOAD,
        "length, padding bits or flags do not fit these rounds",
    ),
    AcceptResult.BAD_SEQUENCE: (
        ErrorCode.BAD_SEQUENCE,
        "no such round, or FINAL does not end with the last row",
    ),
    AcceptResult.OVERLOAD: (ErrorCode.OVERLOAD, "past the credit window; not accepted, send it again"),
}


class Swap(NamedTuple):
    """The prepared model takes over at this window boundary."""

    epoch: int
    at_round: int
    model: str
    kind: Literal["circuit", "dem"]


class StreamSession:
    """A stream from OPEN to CLOSE, over any number of connections.

    Args:
        stream: the number in the header of its frames.
        shape: widths of the rows.
        config: window, deadline and gap policy.
        model: SHA-256 of the model's text, in hex, and `model_id` what COMMITs call it.
        start: (epoch, sequence) of the first row, and `outputs` the number of frames sent
            before, for a stream that is restored from a journal.
    """

    def __init__(
        self,
        stream: int,
        shape: StreamShape,
        config: OrderingConfig,
        *,
        model: str,
        model_id: bytes,
        start: tuple[int, int] = (0, 0),
        outputs: int = 0,
    ) -> None:
        self.stream = stream
        self.shape = shape
        self.model = model
        self.model_id = model_id
        self.stats = Stats()
        self.ordering = Ordering(shape, config, start=shape.ordinal(*start))
        self.reload_wanted: Reload | None = None
        """A RELOAD to be built and warmed; `reload_prepared` or `reload_failed` ends it."""
        self._reload: Reload | None = None
        self._swap: Reload | None = None
        self._next: Row | Skip | None = None
        self._log = OutputLog(stream, num_observables=shape.num_observables, start=outputs)
        self._degraded: int | None = None
        self._last_reset: int | None = None
        self._told = self.ordering.decoded
        self._clock = 0

    def receive(self, frame: Frame, now: int) -> list[Frame]:
        """Takes a ROUNDS, FINAL, RESET or STATS of this stream; returns the answers."""
        now = self._forward(now)
        if frame.type in (FrameType.ROUNDS, FrameType.FINAL):
            judged = self.ordering.accept(frame, now)
            replies = [reply for run in judged for reply in self._refuse(frame, run)]
            return replies + self._nacks(now)
        if frame.type == FrameType.RESET:
            return self._reset(frame)
        if frame.type == FrameType.STATS:
            self.stats.in_flight = self.ordering.in_flight
            return [Frame(FrameType.STATS, self.stream, payload=encode_message(self.stats))]
        message = f"{frame.type.name} is not for the server, or not for an open stream"
        return [self.error(ErrorCode.BAD_FRAME, "frame", message, frame.epoch, frame.sequence)]

    def fault(self, fault: WireFault, now: int) -> list[Frame]:
        """A damaged frame of this stream: asked for again at once if it was data."""
        now = self._forward(now)
        if fault.type in (FrameType.ROUNDS, FrameType.FINAL):
            self.ordering.damaged(fault, now)
            return self._nacks(now)
        return [self.error(ErrorCode.BAD_FRAME, "frame", fault.detail, fault.epoch, fault.sequence)]

    def request_reload(self, reload: Reload) -> list[Frame]:
        """Starts a RELOAD, one at a time."""
        if self._reload is not None:
            message = f"the reload of {self._reload.model[:16]} is not finished"
            return [self.error(ErrorCode.RELOAD_BUSY, "frame", message)]
        self._reload = self.reload_wanted = reload
        return []

    def reload_prepared(self) -> None:
        """The wanted model is built and warm; `take` gives a Swap at the next window boundary."""
        self._swap, self.reload_wanted = self._reload, None

    def reload_failed(self, reason: str) -> list[Frame]:
        """The wanted model makes no decoder; the old one goes on as if nothing had been asked."""
        model = "" if self._reload is None else self._reload.model[:16]
        self._reload = self._swap = self.reload_wanted = None
        return [self.error(ErrorCode.RELOAD_REJECTED, "frame", f"model {model}: {reason}")]

    def tick(self, now: int) -> list[Frame]:
        """NACKs again, and deals with gaps whose deadline has passed."""
        now = self._forward(now)
        while (gap := self.ordering.overdue(now)) is not None:
            self._expire(gap, now)
        return self._nacks(now)

    def resume_deadlines(self, now: int) -> None:
        """The client is back after a time in which its frames were not read."""
        self.ordering.resume_deadlines(self._forward(now))

    def next_deadline(self) -> int | None:
        """When `tick` is due."""
        return self.ordering.next_deadline()

    @property
    def has_ready(self) -> bool:
        """Whether `take` has a row or a shot to abandon."""
        return self._next is not None or self.ordering.has_ready

    def take(self) -> Row | Skip | Swap | None:
        """The next thing to do, in order. A row's flags say all that its outputs' flags depend on."""
        item = self._next if self._next is not None else self.ordering.take()
        self._next = None
        if isinstance(item, Row):
            item = self._marked(item)
        if self._swap is None or isinstance(item, Skip):
            return item
        epoch, sequence = self.shape.place(self.ordering.decoded)
        if sequence % self.shape.commit or sequence == self.shape.rounds:
            return item
        self._next = item
        swap, self._swap = self._swap, None
        return Swap(epoch, sequence, swap.model, swap.kind)

    def decoded(self, row: Row, outcomes: list[Outcome]) -> list[Frame]:
        """The row was decoded: COMMITs of a round, or, of the final row, COMMITs and the RESULT (last)."""
        last = len(outcomes) - 1 if row.sequence == self.shape.rounds else -1
        flags = row.flags & _INHERITED
        frames = [
            self._log.make(_KINDS[at == last], row.epoch, row.sequence, outcome, flags)
            for at, outcome in enumerate(outcomes)
        ]
        if row.flags & _DEGRADED:
            self._degraded = row.epoch
        self.ordering.done(row)
        if row.sequence == self.shape.rounds:
            self.stats.shots += 1
        else:
            self.stats.rounds += 1
        self.stats.erased += row.erased
        self.stats.commits += len(outcomes)
        return frames

    def failed(self, row: Row, reason: str) -> None:
        """The decoder refused the row: its shot is abandoned, the next one starts clean."""
        self._abandon(Skip(row.epoch, row.epoch + 1, reason, asked=False))

    def skipped(self, skip: Skip, now: int) -> list[Frame]:
        """The shots were abandoned: a RESULT with FAILED for each, or the answer to RESET."""
        self.ordering.done(skip)
        if skip.asked:
            return [Frame(FrameType.RESET, self.stream, skip.next_epoch)]
        frames: list[Frame] = []
        for epoch in range(skip.epoch, skip.next_epoch):
            frames.append(self.error(ErrorCode.SHOT_FAILED, "shot", skip.reason, epoch))
            nothing = Outcome(0, bytes(packed_bytes(self.shape.num_observables)), self.model_id, now, now)
            frames.append(self._log.make(FrameType.RESULT, epoch, 0, nothing, Flag.FAILED))
            self.stats.commits += 1
            self.stats.failed += 1
        return frames

    def swapped(self, swap: Swap, model_id: bytes) -> list[Frame]:
        """The new model decodes from here on."""
        self.model, self.model_id = swap.model, model_id
        self._reload = None
        payload = encode_message(Reloaded(swap.model, model_id.hex(), swap.at_round))
        return [Frame(FrameType.RELOAD, self.stream, swap.epoch, payload=payload)]

    def credit(self, *, force: bool = False) -> list[Frame]:
        """CREDIT, if the window moved by a quarter since the last one, or moved at all and `force`."""
        moved = self.ordering.decoded - self._told
        if not force and moved * 4 < self.ordering.config.window:
            return []
        self._told = self.ordering.decoded
        epoch, sequence = self.shape.place(self.ordering.decoded)
        payload = encode_credit(CreditPayload(self.ordering.config.window, self.ordering.in_flight))
        return [Frame(FrameType.CREDIT, self.stream, epoch, sequence, payload)]

    @property
    def owes_credit(self) -> bool:
        """Whether the window moved since the last CREDIT."""
        return self.ordering.decoded != self._told

    @property
    def outputs(self) -> int:
        """COMMITs and RESULTs so far."""
        return self._log.count

    def resend(self, after: int) -> list[Frame] | None:
        """The outputs from number `after` on, or None if they are no longer kept, or were never made."""
        return self._log.resend(after)

    def keep(self, frame: Frame) -> None:
        """Restores an output from a journal."""
        self._log.keep(frame)

    def lose(self, count: int) -> None:
        """The next output has this number; some before it are lost with a damaged journal, and none kept."""
        self._log.lose(count)

    def error(
        self,
        code: ErrorCode,
        scope: Scope,
        message: str,
        epoch: int = 0,
        sequence: int = 0,
        *,
        count: int = 1,
    ) -> Frame:
        """An ERROR about this stream, or about `count` rows of it."""
        payload = encode_message(Error(code, scope, message, count))
        return Frame(FrameType.ERROR, self.stream, epoch, sequence, payload)

    def _marked(self, row: Row) -> Row:
        if self._degraded is None and not self.ordering.conflicts:
            return row
        flags = _DEGRADED if self._degraded == row.epoch else 0
        flags |= _CONFLICT if row.epoch in self.ordering.conflicts else 0
        return row._replace(flags=row.flags | flags) if flags else row

    def _forward(self, now: int) -> int:
        """A clock that is set back stands still here until it has caught up."""
        if now > self._clock:
            self._clock = now
        return self._clock

    def _refuse(self, frame: Frame, run: Judged) -> list[Frame]:
        """The answer to rows that were not accepted: one ERROR for those with the same reason."""
        stats, result = self.stats, run.result
        stats.duplicates += run.count * (result is AcceptResult.DUPLICATE)
        stats.conflicts += run.count * (result is AcceptResult.CONFLICT)
        stats.late += run.count * (result is AcceptResult.LATE)
        stats.overloads += run.count * (result is AcceptResult.OVERLOAD)
        if result in (AcceptResult.ACCEPTED, AcceptResult.DUPLICATE):
            return []
        code, message = _REFUSALS[result]
        return [self.error(code, "frame", message, frame.epoch, run.sequence, count=run.count)]

    def _nacks(self, now: int) -> list[Frame]:
        gaps = self.ordering.nacks_due(now)
        self.stats.nacks += len(gaps)
        left = self.ordering.deadline_left(now)
        return [
            Frame(
                FrameType.NACK,
                self.stream,
                *self.shape.place(gap.first),
                encode_nack(NackPayload(gap.stop - gap.first, left)),
            )
            for gap in gaps
        ]

    def _expire(self, gap: Gap, now: int) -> None:
        epoch, sequence = self.shape.place(gap.first)
        last = self.shape.place(gap.stop - 1)
        if self.ordering.config.on_gap == "erase" and last[0] == epoch and last[1] < self.shape.rounds:
            self.ordering.erase(gap, now)
            return
        what = "FINAL" if sequence == self.shape.rounds else f"round {sequence}"
        self._abandon(Skip(epoch, epoch + 1, f"{what} was lost", asked=False))

    def _reset(self, frame: Frame) -> list[Frame]:
        epoch, sequence = self.shape.place(self.ordering.expected)
        first = epoch + (sequence > 0 or bool(self.ordering.gaps()))
        if frame.epoch == self._last_reset and frame.epoch >= epoch:
            return [Frame(FrameType.RESET, self.stream, frame.epoch)]
        if not first <= frame.epoch < LAST_EPOCH:
            message = f"RESET to epoch {frame.epoch}; the next one is {first}, the last {LAST_EPOCH - 1}"
            return [self.error(ErrorCode.STALE_EPOCH, "frame", message, frame.epoch)]
        self._last_reset = frame.epoch
        self._abandon(Skip(epoch, frame.epoch, "RESET", asked=True))
        return []

    def _abandon(self, skip: Skip) -> None:
        self.ordering.abandon(skip)
        if self._next is not None and skip.epoch <= self._next.epoch < skip.next_epoch:
            self._next = None
