"""`qecpipe serve`: the decoder service, for experiment control."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import ssl
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import structlog

from decoder_service.server import ServerConfig, ServerFrontEnd, TcpAddress, TlsFiles, WorkerConfig
from sims.cli.files import check_inputs, check_output_folder, read_text
from sims.cli.options import above_zero, at_most_cores, not_negative, positive
from sims.cli.parse_flags import parse_flags

RESUME_HINT = "start it again with the same --state, and clients take up their sessions"


@dataclass(frozen=True)
class ServeConfig:
    """Decode streams of syndromes and send corrections back (docs/protocol.md).

    Ends on SIGTERM or Ctrl-C once the shots in flight are done.
    """

    socket: Path | None = Path("qecpipe.sock")
    """Unix socket to listen on, mode 0600; None for none."""
    tcp: str | None = None
    """HOST:PORT to listen on too; anything but loopback needs --tls-certificate, --tls-key, --token-file."""
    tls_certificate: Path | None = None
    """File of the server's certificate chain, PEM; for --tcp beyond loopback."""
    tls_key: Path | None = None
    """File of its private key, PEM."""
    token_file: Path | None = None
    """File with the token that clients must present; at least 16 characters."""
    workers: int = 1
    """Processes that decode; sessions are shared out over them."""
    state: Path | None = None
    """Folder for models and journals, of one server; left out: a temporary one that goes with the server."""
    keep_gigabytes: float = 16.0
    """Gigabytes of journals kept in --state; past that the oldest are deleted, except those of sessions in
    memory."""
    keep_days: float = 30.0
    """Days after which a journal that nobody wrote to is deleted from --state."""
    models: int = 256
    """Models kept in --state; the one that was not used for longest makes room for a new one."""
    memory_gigabytes: float = 8.0
    """Gigabytes of memory of a worker past which it opens no stream; those that are open go on."""
    window: int = 2048
    """Rounds of a stream that may be in flight."""
    gap_deadline: float = 0.05
    """Seconds after which a lost round is decoded as erased, or its shot abandoned."""
    busy_poll: float = 200.0
    """Microseconds that a worker asks for the next round again and again before it sleeps; more where it has
    a core for itself, 0 where it has to share one."""
    cores: tuple[int, ...] = ()
    """Cores that decoding has for itself, such as 2 3, one or more a worker; left out: any. Clients on this
    machine, and what else runs on it, are to be kept off them."""
    realtime: bool = False
    """Decode at real-time priority: nothing without one gets in between, but for some hundredths of the time
    that are left to the rest of the system. Needs the right to it; goes with a long --busy-poll."""
    device: str = "auto"
    """Where networks of streams run: cpu, cuda, one GPU, such as cuda:0, or auto: on a GPU if there is one,
    except for networks that take less time on a CPU. The log says it of every stream that is opened."""
    streams: int = 64
    """Streams that a session may have."""
    connections: int = 64
    """Connections that may be open at a time."""
    drain: float = 5.0
    """Seconds that shots in flight have to end at SIGTERM."""
    http: int | None = 9464
    """Loopback port of /metrics and the status page; None for none, 0 for any free one."""
    log_level: str = "info"
    """Least level of what is logged: debug, info, warning or error."""


def run(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    config = parse_flags(ServeConfig, "serve", arguments)
    check_inputs(config.tls_certificate, config.tls_key, config.token_file)
    if config.state is not None:
        check_output_folder(config.state, flag="--state")
    with tempfile.TemporaryDirectory(prefix="qecpipe-") as temporary:
        server = server_config(config, state=config.state or Path(temporary))
        _configure_logs(config.log_level)
        asyncio.run(_serve(server))
    return 0


def server_config(config: ServeConfig, *, state: Path) -> ServerConfig:
    """The server's settings from the flags.

    Raises ValueError for values out of range and for those that do not go together.
    """
    if (config.tls_certificate is None) != (config.tls_key is None):
        raise ValueError("--tls-certificate and --tls-key go together; one of them is missing")
    tls = None
    if config.tls_certificate is not None and config.tls_key is not None:
        tls = TlsFiles(config.tls_certificate, config.tls_key)
        _require_certificate(tls)
    token = ""
    if config.token_file is not None:
        if os.stat(config.token_file).st_mode & 0o077:
            raise ValueError(f"{config.token_file} can be read by others; chmod 600 it")
        token = read_text(config.token_file).strip()
    return ServerConfig(
        worker=WorkerConfig(
            state=str(state.resolve()),
            prune=config.state is None,
            window=positive("--window", config.window),
            gap_deadline=above_zero("--gap-deadline", config.gap_deadline),
            busy_poll=_micros("--busy-poll", config.busy_poll),
            cores=config.cores,
            realtime=config.realtime,
            device=config.device,
            streams=positive("--streams", config.streams),
            drain=not_negative("--drain", config.drain),
            models=positive("--models", config.models),
            memory_bytes=math.ceil(1e9 * above_zero("--memory-gigabytes", config.memory_gigabytes)),
        ),
        unix=config.socket,
        tcp=None if config.tcp is None else _address(config.tcp),
        tls=tls,
        token=token,
        workers=at_most_cores("--workers", config.workers),
        connections=positive("--connections", config.connections),
        http=None if config.http is None else _port("--http", config.http),
        state_bytes=1e9 * above_zero("--keep-gigabytes", config.keep_gigabytes),
        state_age=86400 * above_zero("--keep-days", config.keep_days),
    )


async def _serve(config: ServerConfig) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    log = structlog.get_logger("decoder_service")
    async with ServerFrontEnd(config) as front_end:
        log.info(
            "ready",
            socket=str(config.unix) if config.unix else None,
            tcp_port=front_end.tcp_port,
            status=f"http://127.0.0.1:{front_end.http_port}/" if front_end.http_port else None,
            workers=front_end.supervisor.pids,
        )
        await stop.wait()
        log.info("draining")
    log.info("ended")


def _require_certificate(files: TlsFiles) -> None:
    for path in (files.certificate, files.key):
        path.open("rb").close()  # what OpenSSL says of a missing file does not name it
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files.certificate, files.key)
    except ssl.SSLError as error:
        raise ValueError(
            f"{files.certificate} and {files.key} are no certificate and its key ({error.reason or error}); "
            "give two PEM files that belong together"
        ) from error


def _micros(flag: str, value: float) -> float:
    """Seconds."""
    if not 0 <= value <= 1e6:
        raise ValueError(f"{flag} is {value:g}; it is microseconds, 0 to 1000000")
    return value / 1e6


def _port(flag: str, value: int) -> int:
    if not 0 <= value <= 65535:
        raise ValueError(f"{flag} is {value}; a port is 0 to 65535")
    return value


def _address(text: str) -> TcpAddress:
    host, separator, port = text.rpartition(":")
    if not separator or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"--tcp is {text!r}; it is HOST:PORT, like 127.0.0.1:7464")
    return TcpAddress(host.strip("[]"), int(port))


def _configure_logs(level: str) -> None:
    """One JSON object a line on stderr, from this process and the library's loggers."""
    known = logging.getLevelNamesMapping()
    if level.upper() not in known:
        raise ValueError(f"--log-level is {level!r}; it is debug, info, warning or error")
    shared = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=known[level.upper()], handlers=[handler], force=True)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
