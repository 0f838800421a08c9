"""Load on a decoder service: frames are prepared before the run, and read apart after it.

In between there is nothing but one send and one receive a block, so that a core of Python keeps up with a
microsecond a round where blocks have some five rounds.
"""

from __future__ import annotations

import array
import bisect
import itertools
import select
import socket
import ssl
import time
from collections.abc import Callable, Sequence

from decoder_service.client import ClientStream, DecoderClient, DisconnectedError, ServiceError
from decoder_service.load.arrivals import Arrival, outputs_due
from decoder_service.load.heads import FrameHeads
from decoder_service.load.pace import LEAD_NS, undisturbed, usual_spin_ns
from decoder_service.load.plan import LoadPlan
from decoder_service.load.report import LoadReport
from decoder_service.load.shots import Answer, ShotSet
from decoder_service.protocol import (
    MOST_ROWS,
    CommitPayload,
    ErrorCode,
    Frame,
    FrameParser,
    FrameType,
    WireFault,
    decode_commit,
    encode_frame,
    encode_rows,
)

__all__ = ["run_service"]

_SEND_BYTES = 1 << 16
_RECEIVE_BYTES = 1 << 18
_LATER = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_OUTPUTS = (FrameType.COMMIT, FrameType.RESULT)


def run_service(
    client: DecoderClient,
    streams: Sequence[ClientStream],
    shots: ShotSet,
    *,
    plan: LoadPlan,
    max_lag: float = float("inf"),
    spin_ns: int | None = None,
) -> LoadReport:
    """Send blocks when they are due, as far as credit goes, and take what comes back.

    A round that has no credit waits, and its wait counts.

    Args:
        client: connected; nothing else happens on its connection.
        streams: open, between shots, with no output that was not taken.
        shots: what is sent.
        plan: when.
        max_lag: seconds that a block may be overdue before the run ends as overloaded. The streams are of no
            further use then.
        spin_ns: how long before a due time to ask for outputs again and again instead of sleeping; by default
            about as long as it takes to be woken.

    Raises:
        ValueError: the plan is not one for these streams and shots.
        ServiceError: the service refused something, or asks for a round again, which no socket loses.
        DisconnectedError: the connection is lost.
    """
    if len(streams) != plan.streams or shots.rows_per_shot != plan.rows_per_shot:
        raise ValueError(
            f"the plan is for {plan.streams} streams of shots of {plan.rows_per_shot} rows; there are "
            f"{len(streams)} streams and shots of {shots.rows_per_shot} rows"
        )
    for stream in streams:
        if stream.shape.layers != shots.shape.layers or stream.begun:
            raise ValueError(
                f"stream {stream.number} has rounds of {stream.shape.layers} and "
                f"{'is' if stream.begun else 'is not'} within a shot; the shots have {shots.shape.layers}"
            )
        if plan.rounds_per_block > min(MOST_ROWS, stream.credit):
            raise ValueError(
                f"blocks of {plan.rounds_per_block} rounds do not fit the {stream.credit} rounds that stream "
                f"{stream.number} may have in flight, or the {MOST_ROWS} of a frame; send fewer together, or "
                "give the service a larger --window"
            )
    firsts = [(stream.epoch, stream.received) for stream in streams]
    pump = _Pump(client, streams, shots, plan, max_lag=max_lag, spin_ns=spin_ns)
    with undisturbed():
        pump.run()
    arrivals = _arrivals(client, streams, pump.chunks, firsts)
    return LoadReport.of(
        plan,
        shots,
        arrivals,
        rows_sent=pump.rows_sent,
        held_back=pump.held_back,
        overloaded=pump.overloaded,
    )


class _Pump:
    """The timed loop: bytes out when they are due, bytes in with the time at which they came."""

    def __init__(
        self,
        client: DecoderClient,
        streams: Sequence[ClientStream],
        shots: ShotSet,
        plan: LoadPlan,
        *,
        max_lag: float,
        spin_ns: int | None,
    ) -> None:
        self.chunks: list[tuple[int, bytes]] = []
        """(ns from the start, what was received then)."""
        self.held_back = 0
        self.overloaded = False
        self.rows_sent = [plan.rows] * plan.streams
        self._client, self._shots, self._plan = client, shots, plan
        self._max_lag, self._spin = max_lag * 1e9, usual_spin_ns() if spin_ns is None else spin_ns
        self._heads = FrameHeads({stream.number: stream.credit for stream in streams}, plan, streams)
        self._data, self._ends = _frames(streams, shots, plan)

    def run(self) -> None:
        """Send and receive everything; the socket is a blocking one again afterwards."""
        sock = self._client.sock
        sock.setblocking(False)
        try:
            self._loop(sock)
        except DisconnectedError:
            raise
        except OSError as error:
            raise DisconnectedError(f"connection to {self._client.address} lost: {error}") from error
        finally:
            sock.setblocking(True)

    def _loop(self, sock: socket.socket) -> None:
        clock, heads, spin = time.perf_counter_ns, self._heads, self._spin
        due, ends, view = array.array("q", self._plan.blocks.due.tolist()), self._ends, memoryview(self._data)
        readable = _readable(sock)
        last, at, block, target = len(due), 0, 0, 0
        expected = self._expected()
        waiting = False
        start = clock() + LEAD_NS
        heard = start
        while True:
            now = clock() - start
            block = bisect.bisect_right(due, now, block, last)
            allowed = min(block, heads.allowed)
            if allowed > target:
                target = allowed
            if waiting != (block > heads.allowed):
                waiting = not waiting
                self.held_back += waiting
            if waiting and now - due[target] > self._max_lag:
                last = block = self._give_up(target)
                expected = self._expected()
            stop = ends[target - 1] if target else 0
            if at < stop:
                at += _send(sock, view[at : min(stop, at + _SEND_BYTES)])
            if readable():
                data = _receive(sock)
                if data:
                    heard = clock()
                    self.chunks.append((heard - start, data))
                    heads.feed(data)
            elif at == stop:
                if target == last and heads.outputs >= expected and not heads.pending:
                    return
                self._rest(sock, due[block] - now if block < last else None, heard, clock, spin)

    def _rest(
        self, sock: socket.socket, left: int | None, heard: int, clock: Callable[[], int], spin: int
    ) -> None:
        """Sleep until something arrives or the next block is nearly due; give up on a silent service."""
        if left is None:
            if clock() - heard > self._client.timeout * 1e9:
                raise DisconnectedError(
                    f"no answer from {self._client.address} in {self._client.timeout} s; "
                    f"{self._heads.outputs} of {self._expected()} outputs came"
                )
            left = 1_000_000 + spin
        if left > spin:
            select.select([sock], [], [], (left - spin) / 1e9)

    def _give_up(self, blocks: int) -> int:
        """Send no more than so many blocks."""
        self.overloaded = True
        plan = self._plan
        self.rows_sent = [0] * plan.streams
        for stream, count in zip(
            plan.blocks.stream[:blocks].tolist(), plan.blocks.count[:blocks].tolist(), strict=True
        ):
            self.rows_sent[stream] += count
        return blocks

    def _expected(self) -> int:
        sent = enumerate(self.rows_sent)
        return sum(outputs_due(self._shots, stream=stream, rows=rows) for stream, rows in sent)


def _frames(
    streams: Sequence[ClientStream], shots: ShotSet, plan: LoadPlan
) -> tuple[bytearray, array.array[int]]:
    """The bytes of all blocks in the order in which they are due, and where each ends."""
    data = bytearray()
    ends = array.array("q")
    blocks = plan.blocks
    columns = (blocks.stream, blocks.epoch, blocks.first, blocks.count)
    for stream, epoch, first, count in zip(*(column.tolist() for column in columns), strict=True):
        rows = b"".join(shots.rows[shots.index(stream, epoch)][first : first + count])
        kind = FrameType.FINAL if first + count == plan.rows_per_shot else FrameType.ROUNDS
        one = streams[stream]
        payload = encode_rows(rows, count)
        data += encode_frame(Frame(kind, one.number, one.epoch + epoch, first, payload))
        ends.append(len(data))
    return data, ends


def _readable(sock: socket.socket) -> Callable[[], object]:
    """Whether there is something to receive, in a fraction of what a failing receive takes."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    if isinstance(sock, ssl.SSLSocket):
        return lambda: sock.pending() or poll.poll(0)
    return lambda: poll.poll(0)


def _send(sock: socket.socket, data: memoryview) -> int:
    try:
        return sock.send(data)
    except _LATER:
        return 0


def _receive(sock: socket.socket) -> bytes:
    """What there is; nothing where that is part of a TLS record."""
    try:
        data = sock.recv(_RECEIVE_BYTES)
    except _LATER:
        return b""
    if not data:
        raise DisconnectedError("the server closed the connection")
    return data


def _arrivals(
    client: DecoderClient,
    streams: Sequence[ClientStream],
    chunks: Sequence[tuple[int, bytes]],
    firsts: Sequence[tuple[int, int]],
) -> list[list[Arrival]]:
    """The outputs of each stream; `firsts` are its shots and outputs before the run."""
    places = {stream.number: place for place, stream in enumerate(streams)}
    found: list[list[Arrival]] = [[] for _ in streams]
    parser = FrameParser()
    for time_ns, chunk in chunks:
        for frame in parser.feed(chunk):
            if isinstance(frame, WireFault):
                raise ServiceError(ErrorCode.BAD_FRAME, f"the service sent {frame.detail}")
            if frame.type not in _OUTPUTS:
                _take_other(client, frame)
                continue
            place = places[frame.stream]
            epoch, number = firsts[place]
            commit = decode_commit(frame.payload)
            found[place].append(
                Arrival(
                    time_ns,
                    frame.sequence - number,
                    frame.epoch - epoch,
                    _answer(frame, commit),
                    commit.time_out - commit.time_in,
                    int(frame.flags),
                )
            )
            streams[place].take_output(frame)
    for stream in streams:
        stream.outputs.clear()
    return found


def _answer(frame: Frame, commit: CommitPayload) -> Answer:
    return Answer(
        frame.type == FrameType.RESULT, commit.upto_round, bytes(commit.frame_bits), bytes(commit.readout)
    )


def _take_other(client: DecoderClient, frame: Frame) -> None:
    """What is no output. Raises ServiceError for what refuses something or asks for it again."""
    again = client.handle(frame)
    errors = list(itertools.chain(client.errors, *(stream.errors for stream in client.streams.values())))
    if errors:
        raise errors[0]
    if again:
        raise ServiceError(
            ErrorCode.BAD_SEQUENCE, f"the service asks for rounds again that were sent: {frame}"
        )
