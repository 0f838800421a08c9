"""The server: a front end that listens, workers that decode, journals that remember."""

from decoder_service.server.config import ServerConfig, TcpAddress, TlsFiles, WorkerConfig
from decoder_service.server.front_end import ServerFrontEnd

__all__ = ["ServerConfig", "ServerFrontEnd", "TcpAddress", "TlsFiles", "WorkerConfig"]
