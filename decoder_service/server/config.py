"""What a server is started with, and the rules of where it may listen."""

from __future__ import annotations

import dataclasses
import ipaddress
from pathlib import Path

import msgspec

from decoder_service.building import BuildLimits
from decoder_service.protocol import Limits
from decoder_service.scheduling import check_schedule
from decoder_service.store import StateFolder
from predecoder.inference import check_device

MIN_TOKEN = 16
"""Characters of a token, at least."""
MAX_PORT = 65535
_COUNTS = ("window", "streams", "models", "model_bytes", "memory_bytes", "output_bytes", "segment_bytes")
MAX_SECONDS = 1e9
"""Times are counted in nanoseconds, in 64 bits."""


@dataclasses.dataclass(frozen=True)
class TcpAddress:
    """A TCP address to listen on; loopback needs nothing more, any other one TLS and a token."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect. A name other than localhost counts as not loopback."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclasses.dataclass(frozen=True)
class TlsFiles:
    """Certificate chain and private key, PEM."""

    certificate: Path
    key: Path


class WorkerConfig(msgspec.Struct, frozen=True):
    """What a worker process needs to know; times are in seconds.

    Args:
        state: folder of models and journals.
        prune: keep only the journal segments that recovery needs.
        window: rows in flight of a stream, fewer where rows are so long that they would take too much memory.
        memory_bytes: of this process, past which no stream is opened; those that are open go on.
        faults: damaged frames after which a connection is ended.
        output_bytes: unsent output of a connection past which it is not read from.
        linger: how long a session without a connection stays in memory.
        slow_reader: how long a client may leave a full output buffer unread.
        time_slice: how long one stream is worked on before the next one of its session is.
        busy_poll: how long a session asks for the next frame again and again before it sleeps. By default
            about as long as being woken costs, with what a core that slept has forgotten.
        cores: for the threads that serve sessions, and nothing else; empty for any.
        realtime: those threads run before all that have no priority. However long `busy_poll` is, they leave
            a core to others for some hundredths of the time, some tens of microseconds at once.
        device: where networks run: 'cpu', 'cuda', one GPU, such as 'cuda:0', or 'auto': on a GPU if there is
            one, but for networks that take less time on a CPU.
        segment_bytes: size from which a journal segment is ended; a restart reads one.
        beat: seconds between two signs of life of a worker.
    """

    state: str
    prune: bool = True
    window: int = 2048
    gap_deadline: float = 0.05
    model_bytes: int = 1 << 26
    models: int = 256
    streams: int = 64
    memory_bytes: int = 8 << 30
    faults: int = 1000
    output_bytes: int = 1 << 20
    linger: float = 600.0
    slow_reader: float = 30.0
    drain: float = 5.0
    segment_bytes: int = 1 << 22
    time_slice: float = 0.00005
    busy_poll: float = 0.0002
    cores: tuple[int, ...] = ()
    realtime: bool = False
    device: str = "auto"
    beat: float = 0.5
    limits: Limits = Limits()

    @property
    def folder(self) -> StateFolder:
        """`state` with its parts."""
        return StateFolder(Path(self.state))

    def __post_init__(self) -> None:
        for name in ("gap_deadline", "slow_reader", "time_slice", "beat"):
            _check_seconds(name, getattr(self, name), positive=True)
        for name in ("linger", "drain", "busy_poll"):
            _check_seconds(name, getattr(self, name), positive=False)
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")


@dataclasses.dataclass(frozen=True)
class ServerConfig:
    """Where to listen, for whom, and with how many workers.

    Args:
        unix: path of the Unix socket, created with mode 0600; None for TCP only.
        tcp: TCP address; None for the Unix socket only.
        tls: makes the TCP socket speak TLS.
        token: shared secret that HELLO must carry; "" for none.
        workers: decode processes; sessions are shared out over them.
        connections: at most this many at a time.
        half_open: at most this many of them before their HELLO is accepted, and of those half from one peer:
            an address, or a user of the Unix socket.
        sessions: at most this many, those that wait for their client to come back included.
        handshake: seconds from a connection to its HELLO.
        deadline: seconds without a sign of life after which a worker is replaced.
        build: limits of every build, of which `builds` run at a time.
        http: loopback port of metrics and the status page; None for none, 0 for any free one.
        state_bytes: of journals that are kept in the state folder; the oldest that no session in memory needs
            are deleted.
        state_age: seconds since they were last written to after which they are deleted.
        sweep: seconds between two looks at that.
    """

    worker: WorkerConfig
    unix: Path | None = None
    tcp: TcpAddress | None = None
    tls: TlsFiles | None = None
    token: str = ""
    workers: int = 1
    connections: int = 64
    half_open: int = 32
    sessions: int = 256
    handshake: float = 5.0
    deadline: float = 10.0
    build: BuildLimits = dataclasses.field(default_factory=BuildLimits)
    builds: int = 2
    http: int | None = None
    state_bytes: float = 16e9
    state_age: float = 30 * 86400.0
    sweep: float = 60.0

    def __post_init__(self) -> None:
        if self.unix is None and self.tcp is None:
            raise ValueError("unix and tcp are both None; give the server an address to listen on")
        for name in ("workers", "connections", "sessions", "builds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.half_open < 2:
            raise ValueError(f"half_open={self.half_open} must be at least 2")
        if self.deadline < 2 * self.worker.beat:
            raise ValueError(f"deadline={self.deadline} must be at least two beats of {self.worker.beat} s")
        check_schedule(self.worker.cores, realtime=self.worker.realtime)
        check_device(self.worker.device)
        for name in ("handshake", "deadline", "state_age", "sweep"):
            _check_seconds(name, getattr(self, name), positive=True)
        if not self.state_bytes > 0:
            raise ValueError(f"state_bytes={self.state_bytes} must be above 0")
        if self.http is not None and not 0 <= self.http <= MAX_PORT:
            raise ValueError(f"http={self.http} is no port; it is 0 to {MAX_PORT}, 0 for any free one")
        if self.tcp is not None and not 0 <= self.tcp.port <= MAX_PORT:
            raise ValueError(f"TCP port {self.tcp.port} is no port; it is 0 to {MAX_PORT}")
        state = Path(self.worker.state)
        if state.exists() and not state.is_dir():
            raise ValueError(f"the state folder {state} is a file; give a folder, which may be new")
        if self.token and len(self.token) < MIN_TOKEN:
            raise ValueError(f"the token has {len(self.token)} characters; use at least {MIN_TOKEN}")
        if self.tls is not None and self.tcp is None:
            raise ValueError("tls is given without tcp; the Unix socket is protected by its mode 0600")
        if self.tcp is not None and not self.tcp.loopback and (self.tls is None or not self.token):
            raise ValueError(
                f"refusing to listen on {self.tcp.host}:{self.tcp.port}: anything but loopback needs TLS "
                "(a certificate and a key) and a token"
            )


def _check_seconds(name: str, seconds: float, *, positive: bool) -> None:
    """Raises ValueError for what is no time, NaN among it."""
    if not 0 <= seconds <= MAX_SECONDS or (positive and not seconds):
        least = "above 0" if positive else "0 or more"
        raise ValueError(
            f"{name}={seconds} is no time; it is in seconds, {least} and at most {MAX_SECONDS:g}"
        )
