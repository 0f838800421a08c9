"""The watcher: the process that starts all others of a server, and tells when one is gone.

It ends with the server, as what it starts ends with it. It has imported all that workers and builds need, so
that what it starts is there at once. A build reads what a client sent: it has limits, and nobody else is hurt
by its end.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import os
import resource
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from decoder_service.building import BuildLimits, store_tables
from decoder_service.server import control
from decoder_service.server.worker import run_worker
from decoder_service.store import StateFolder

_PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""
BUILD_NICENESS = 5
_ERROR_BYTES = 2000


class Watcher:
    """Starts processes by fork: nothing here has threads.

    Args:
        end: of a pair with the server.
        beat: seconds between two signs of life.
    """

    def __init__(self, end: socket.socket, *, beat: float) -> None:
        self._end = end
        self._beat = beat
        self._selector = selectors.DefaultSelector()
        self._selector.register(end, selectors.EVENT_READ)
        self._pids: dict[int, int] = {}
        """By the server's number for each process."""

    def run(self) -> None:
        """Serves until the server is gone."""
        said = -self._beat
        while True:
            if time.monotonic() - said >= self._beat:
                said = time.monotonic()
                control.send(self._end, control.Beat())
            for key, _ in self._selector.select(self._beat):
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
        try:
            pid = self._start(message, descriptors)
        except OSError as error:  # those that run go on
            control.send(self._end, control.Ended(message.process, 1, f"it was not started: {error}"))
            return
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self._pids[message.process] = pid
        control.send(self._end, control.Started(message.process, pid))

    def _start(self, message: control.StartWorker | control.StartBuild, descriptors: list[int]) -> int:
        """Raises OSError where there are as many processes or files as there may be: nothing is left then."""
        if not descriptors:
            raise OSError(errno.EMFILE, "the watcher has no file descriptor left for it")
        pid = self._fork(lambda: _run(message, descriptors[0]))
        pidfd = -1
        try:
            pidfd = os.pidfd_open(pid)
            self._selector.register(pidfd, selectors.EVENT_READ, message.process)
        except OSError:  # nobody would hear of its end
            if pidfd >= 0:
                os.close(pidfd)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        return pid

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
            try:
                sys.stderr.flush()
            finally:  # where nobody reads it, too: else the process would go on as another watcher
                os._exit(status)

    def _ended(self, pidfd: int, process: int) -> None:
        _, status = os.waitpid(self._pids.pop(process), 0)
        self._selector.unregister(pidfd)
        os.close(pidfd)
        control.send(self._end, control.Ended(process, os.waitstatus_to_exitcode(status)))


def _run(start: control.StartWorker | control.StartBuild, descriptor: int) -> None:
    if isinstance(start, control.StartWorker):
        run_worker(socket.socket(fileno=descriptor), start.config, slot=start.slot)
    else:
        run_build(start, descriptor)


def run_build(start: control.StartBuild, pipe: int) -> None:
    """Builds in this process, which is for nothing else; an error is written to the pipe."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    os.nice(BUILD_NICENESS)
    set_limits(start.limits)
    error = store_tables(StateFolder(Path(start.state)), start.build, start.limits)
    os.write(pipe, error.encode(errors="replace")[:_ERROR_BYTES])


def set_limits(limits: BuildLimits) -> None:
    """Has the kernel end this process, or refuse it what it asks for, beyond these.

    Where the machine itself runs out of memory, this process is the one that is ended.
    """
    with contextlib.suppress(OSError):  # a container that does not let it say so
        Path("/proc/self/oom_score_adj").write_text("1000")
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    for kind, limit in (
        (resource.RLIMIT_AS, mapped + limits.bytes),
        (resource.RLIMIT_FSIZE, limits.tables + 4096),
        (resource.RLIMIT_CPU, max(1, round(limits.seconds))),
        (resource.RLIMIT_CORE, 0),
    ):
        _, most = resource.getrlimit(kind)
        limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
        resource.setrlimit(kind, (limit, limit))


def end_with(parent: int) -> None:
    """Has the kernel end this process when the thread that started it ends, even by SIGKILL."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before
        os._exit(1)


def main() -> None:
    """Runs the watcher (`processes.START`).

    The last arguments are the descriptor of its end of a `control.pair`, the server's process number, and the
    seconds between two beats.
    """
    fd, parent, beat = sys.argv[-3:]
    end_with(int(parent))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the server, which drains
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    gc.collect()
    gc.freeze()  # what was imported is shared with all that is started
    with contextlib.suppress(ConnectionError):  # the server is gone
        Watcher(socket.socket(fileno=int(fd)), beat=float(beat)).run()
