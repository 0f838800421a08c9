"""The server: a front end that listens, workers that decode, journals that are replayed.

    ServerFrontEnd(ServerConfig(worker=WorkerConfig(state=...)))   a running server, `async with`
    TcpAddress, TlsFiles                                           where it listens besides a Unix socket
    BuildLimits                                                    what the build of one model may take

README.md of this folder has the modules in the order in which a connection passes through them.
"""

from decoder_service.building import BuildLimits
from decoder_service.server.config import ServerConfig, TcpAddress, TlsFiles, WorkerConfig
from decoder_service.server.front_end import ServerFrontEnd

__all__ = ["BuildLimits", "ServerConfig", "ServerFrontEnd", "TcpAddress", "TlsFiles", "WorkerConfig"]
