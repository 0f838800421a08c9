"""The server: a front end that listens, workers that decode, journals that are replayed.

    ServerFrontEnd(ServerConfig(worker=WorkerConfig(state=...)))   a running server, `async with`
    TcpAddress, TlsFiles                                           where it listens besides a Unix socket

Who does what, one client's frame after the other: `front_end` (accepts, HELLO) -> `supervisor` (which worker)
-> `worker` -> `session_registry` (which session) -> `event_loop` and `connection` (bytes) -> `scheduler`
(whose time slice) -> `client_session` and `server_stream` (order, decoder, journal).
"""

from decoder_service.server.config import ServerConfig, TcpAddress, TlsFiles, WorkerConfig
from decoder_service.server.front_end import ServerFrontEnd

__all__ = ["ServerConfig", "ServerFrontEnd", "TcpAddress", "TlsFiles", "WorkerConfig"]
