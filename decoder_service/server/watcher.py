"""The watcher: the process that starts all others of a server, and tells when one is gone.

It ends with the server, as what it starts ends with it. It has imported all that workers and builds need, so
that what it starts is there at once.
"""

from __future__ import annotations

import ctypes
import gc
import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Callable

from decoder_service.server import control
from decoder_service.server.building import run_build
from decoder_service.server.worker import run_worker

_PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""


class Watcher:
    """Starts processes by fork: nothing here has threads."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._selector = selectors.DefaultSelector()
        self._selector.register(end, selectors.EVENT_READ)
        self._pids: dict[int, int] = {}
        """By the server's number for each process."""

    def run(self) -> None:
        """Serves until the server is gone."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._end:
                    message, descriptors = control.receive(self._end, control.ToWatcher)
                    if message is None:
                        return
                    self._do(message, descriptors)
                else:
                    self._ended(key.fd, key.data)

    def _do(self, message: control.ToWatcher, descriptors: list[int]) -> None:
        if isinstance(message, control.Kill):
            if message.process in self._pids:
                os.kill(self._pids[message.process], signal.SIGKILL)
            return
        if isinstance(message, control.StartWorker):
            pid = self._fork(lambda: run_worker(socket.socket(fileno=descriptors[0]), message.config))
        else:
            pid = self._fork(lambda: run_build(message, descriptors[0]))
        for descriptor in descriptors:
            os.close(descriptor)
        self._pids[message.process] = pid
        self._selector.register(os.pidfd_open(pid), selectors.EVENT_READ, message.process)
        control.send(self._end, control.Started(message.process, pid))

    def _fork(self, run: Callable[[], None]) -> int:
        watcher = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            end_with(watcher)
            self._end.close()
            for key in list(self._selector.get_map().values()):
                if key.fileobj is not self._end:
                    os.close(key.fd)
            self._selector.close()
            run()
            status = 0
        except BaseException:  # noqa: BLE001 - the process ends here, whatever it was
            traceback.print_exc()  # to the server's stderr: its last chance to say something
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _ended(self, pidfd: int, process: int) -> None:
        _, status = os.waitpid(self._pids.pop(process), 0)
        self._selector.unregister(pidfd)
        os.close(pidfd)
        control.send(self._end, control.Ended(process, os.waitstatus_to_exitcode(status)))


def end_with(parent: int) -> None:
    """Has the kernel end this process when the thread that started it ends, even by SIGKILL."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before
        os._exit(1)


def main() -> None:
    """Runs the watcher (`processes.START`).

    The last arguments are the descriptor of its end of a `control.pair` and the server's process number.
    """
    fd, parent = map(int, sys.argv[-2:])
    end_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the server, which drains
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    gc.collect()
    gc.freeze()  # what was imported is shared with all that is started
    Watcher(socket.socket(fileno=fd)).run()
