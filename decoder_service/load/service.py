"""Load on a decoder service: frames are prepared before the run, and read apart after it.

In between there is no Python: `_qecpipe.LoadPump` sends and receives, so that what is measured is the
service, and not how long an interpreter takes to see what came.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence

import numpy as np

from _qecpipe import LoadPump
from decoder_service.client import ClientStream, DecoderClient, DisconnectedError, ServiceError
from decoder_service.load.arrivals import Arrival, outputs_due
from decoder_service.load.pace import LEAD_NS, on_core, undisturbed, usual_spin_ns
from decoder_service.load.plan import LoadPlan
from decoder_service.load.report import LoadReport
from decoder_service.load.shots import Answer, ShotSet
from decoder_service.protocol import (
    HEADER_BYTES,
    MOST_ROWS,
    CommitPayload,
    ErrorCode,
    Flag,
    Frame,
    FrameParser,
    FrameType,
    WireFault,
    decode_commit,
    encode_frame,
    encode_rows,
    packed_bytes,
)
from decoder_service.scheduling import running_share

__all__ = ["run_service"]

_SLICE = 0.2
"""Seconds between two looks at signals."""
_COMMIT_BYTES = 48
"""Of an output's payload, besides the observables: what precedes them, and a gap."""
_RELAY_BYTES = 1 << 16
_LATER = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_OUTPUTS = (FrameType.COMMIT, FrameType.RESULT)


def run_service(
    client: DecoderClient,
    streams: Sequence[ClientStream],
    shots: ShotSet,
    *,
    plan: LoadPlan,
    max_lag: float = float("inf"),
    core: int | None = None,
    realtime: bool = False,
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
        core: of the processor, where the load runs; by default wherever it may.
        realtime: run it before all that has no priority, which needs the right to it, and never sleep for
            longer than it takes to leave the core to others for some hundredths of the time.

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
    pump = _Pump(client, streams, shots, plan, max_lag=max_lag, realtime=realtime)
    with undisturbed(), on_core(core, realtime=realtime):
        pump.run()
    arrivals = _arrivals(client, streams, pump.chunks, firsts)
    return LoadReport.of(
        plan,
        shots,
        arrivals,
        rows_sent=pump.rows_sent,
        held_back=pump.held_back,
        overloaded=pump.overloaded,
        sent_late=pump.sent_at - plan.blocks.due[: len(pump.sent_at)],
    )


class _Pump:
    """The timed part: bytes out when they are due, bytes in with the time at which they came."""

    def __init__(
        self,
        client: DecoderClient,
        streams: Sequence[ClientStream],
        shots: ShotSet,
        plan: LoadPlan,
        *,
        max_lag: float,
        realtime: bool,
    ) -> None:
        self.overloaded = False
        self.rows_sent = [plan.rows] * plan.streams
        self._client, self._shots, self._plan = client, shots, plan
        blocks = plan.blocks
        data, ends = _frames(streams, shots, plan)
        self._native = LoadPump(
            data=data,
            due=blocks.due,
            end=ends,
            stream=blocks.stream,
            rows=blocks.epoch * plan.rows_per_shot + blocks.first + blocks.count,
            streams=[
                (stream.number, plan.rows_per_shot, stream.shape.ordinal(stream.epoch, 0), stream.credit)
                for stream in streams
            ],
            spin=usual_spin_ns(realtime=realtime) / 1e9,
            running=running_share(realtime=realtime),
            max_lag=max_lag,
            silence=client.timeout,
            outputs=self._expected(),
            output_bytes=HEADER_BYTES + _COMMIT_BYTES + 2 * packed_bytes(shots.shape.num_observables),
        )

    @property
    def chunks(self) -> list[tuple[int, bytes]]:
        """(ns from the start, what was received then)."""
        return self._native.chunks

    @property
    def held_back(self) -> int:
        """Times that a due block found no credit."""
        return self._native.held_back

    @property
    def sent_at(self) -> np.ndarray:
        """int64: when the socket had taken each block, ns from the start."""
        return self._native.sent_at

    def run(self) -> None:
        """Send and receive everything.

        Raises:
            DisconnectedError: the connection is lost, or the service says nothing any more.
        """
        lost = f"connection to {self._client.address} lost"
        with _plain(self._client.sock) as fd:
            try:
                why = self._go_on(fd)
                if why == "overloaded":
                    self._give_up()
                    why = self._go_on(fd)
            except OSError as error:
                raise DisconnectedError(f"{lost}: {error}") from error
        if why == "closed":
            raise DisconnectedError(f"{lost}: the server closed it")
        if why == "silent":
            raise DisconnectedError(
                f"no answer from {self._client.address} in {self._client.timeout} s; "
                f"{self._native.outputs} of {self._expected()} outputs came"
            )

    def _go_on(self, fd: int) -> str:
        while (why := self._native.run(fd, lead=LEAD_NS / 1e9, time=_SLICE)) == "more":
            pass  # Ctrl-C is seen here
        return why

    def _give_up(self) -> None:
        """No more is sent than was."""
        self.overloaded = True
        blocks, sent = self._plan.blocks, self._native.blocks_sent
        counts = np.bincount(blocks.stream[:sent], weights=blocks.count[:sent], minlength=self._plan.streams)
        self.rows_sent = counts.astype(int).tolist()
        self._native.expect(self._expected())

    def _expected(self) -> int:
        sent = enumerate(self.rows_sent)
        return sum(outputs_due(self._shots, stream=stream, rows=rows) for stream, rows in sent)


def _frames(streams: Sequence[ClientStream], shots: ShotSet, plan: LoadPlan) -> tuple[bytes, np.ndarray]:
    """The bytes of all blocks in the order in which they are due, and int64 where each ends."""
    data = bytearray()
    ends = []
    blocks = plan.blocks
    columns = (blocks.stream, blocks.epoch, blocks.first, blocks.count)
    for stream, epoch, first, count in zip(*(column.tolist() for column in columns), strict=True):
        rows = b"".join(shots.rows[shots.index(stream, epoch)][first : first + count])
        kind = FrameType.FINAL if first + count == plan.rows_per_shot else FrameType.ROUNDS
        one = streams[stream]
        payload = encode_rows(rows, count)
        data += encode_frame(Frame(kind, one.number, one.epoch + epoch, first, payload))
        ends.append(len(data))
    return bytes(data), np.array(ends, dtype=np.int64)


@contextlib.contextmanager
def _plain(sock: socket.socket) -> Iterator[int]:
    """The descriptor of a socket in the clear: for TLS one of a pair, with a thread behind it."""
    if not isinstance(sock, ssl.SSLSocket):
        yield sock.fileno()
        return
    near, far = socket.socketpair()
    relay = threading.Thread(target=_relay, args=(far, sock), name="relay", daemon=True)
    relay.start()
    try:
        with near:
            yield near.fileno()
    finally:
        relay.join()
        sock.setblocking(True)


def _relay(plain: socket.socket, tls: ssl.SSLSocket) -> None:
    """Hands bytes on in both directions until either end is closed."""
    tls.setblocking(False)
    with plain, contextlib.suppress(OSError):
        while True:
            if not tls.pending():
                select.select([plain, tls], [], [])
            with contextlib.suppress(*_LATER):
                if not (data := tls.recv(_RELAY_BYTES)):
                    return
                plain.sendall(data)
            if select.select([plain], [], [], 0)[0]:
                if not (data := plain.recv(_RELAY_BYTES)):
                    return
                _send_all(tls, data)


def _send_all(tls: ssl.SSLSocket, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[tls.send(left) :]
        except _LATER:
            select.select([tls], [tls], [])


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
            commit = decode_commit(frame.payload, flags=frame.flags)
            found[place].append(
                Arrival(
                    time_ns,
                    frame.sequence - number,
                    frame.epoch - epoch,
                    _answer(frame, commit),
                    commit.time_out - commit.time_in,
                    int(frame.flags & ~Flag.GAP),
                )
            )
            streams[place].take_output(frame)
    for stream in streams:
        stream.outputs.clear()
    return found


def _answer(frame: Frame, commit: CommitPayload) -> Answer:
    return Answer(
        frame.type == FrameType.RESULT,
        commit.upto_round,
        bytes(commit.frame_bits),
        bytes(commit.readout),
        commit.gap,
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
