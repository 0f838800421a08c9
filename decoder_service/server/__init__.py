"""The server: a front that listens, workers that decode, journals that remember."""

from decoder_service.server.config import ServerConfig, TcpAddress, TlsFiles, WorkerConfig
from decoder_service.server.front import Front

__all__ = ["Front", "ServerConfig", "TcpAddress", "TlsFiles", "WorkerConfig"]
