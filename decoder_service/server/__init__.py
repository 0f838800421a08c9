"""The server: a front end that listens, workers that decode, journals that are replayed.

    ServerFrontEnd(ServerConfig(worker=WorkerConfig(state=...)))   a running server, `async with`
    TcpAddress, TlsFiles                                           where it listens besides a Unix socket

Processes: the server (`front_end` accepts and checks HELLO, `supervisor` and `builds` say what runs,
`processes` is the watcher as they see it), the `watcher`, which starts all others, `worker`s and `building`.
One client's way: `front_end` -> `worker` (which session) -> `client_session`, a thread, in
`_qecpipe.Session.serve` for rows, and Python for the rest (`server_stream`, `journal`; `restore` and `replay`
after a crash).
"""

from decoder_service.server.config import BuildLimits, ServerConfig, TcpAddress, TlsFiles, WorkerConfig
from decoder_service.server.front_end import ServerFrontEnd

__all__ = ["BuildLimits", "ServerConfig", "ServerFrontEnd", "TcpAddress", "TlsFiles", "WorkerConfig"]
