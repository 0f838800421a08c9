"""sinter's workers, watched: one that dies ends the collection with an error instead of a wait without end.

sinter's manager waits for its workers' messages only. A worker that the system kills, out of memory say,
sends none; and where it died while it wrote one, it takes the lock of the queue with it, so that no other
worker's message arrives either. So the manager waits for messages and for the ends of processes.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import struct
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import wait
from typing import Any

from sinter._collection._collection_manager import CollectionManager

from sims.run_failed import RunFailedError

_READ_BYTES = 1 << 16


class WorkerDiedError(RunFailedError):
    """A worker process ended that should not have; what was reported before it did is kept."""


class WatchedCollectionManager(CollectionManager):
    """sinter's `CollectionManager`; its waits raise `WorkerDiedError` when a worker has died."""

    def start_workers(self, *, actually_start_worker_processes: bool = True) -> None:
        super().start_workers(actually_start_worker_processes=actually_start_worker_processes)
        processes = [state.process for state in self.worker_states]
        self.shared_worker_output_queue: Any = _WatchedQueue(self.shared_worker_output_queue, processes)


class _WatchedQueue:
    """The reading end of a `multiprocessing.SimpleQueue` that `processes` write to.

    It reads the pipe as bytes come, and not message by message as `Connection.recv` does: a message that
    its writer did not live to finish would block for ever.
    """

    def __init__(self, source: Any, processes: Sequence[Any]) -> None:
        self._source = source  # keeps the pipe open
        self._pipe: int = source._reader.fileno()
        self._received = bytearray()
        self._processes = {process.sentinel: process for process in processes}

    def get(self) -> Any:
        """The next message. Raises `WorkerDiedError` if a process has ended and no message is left."""
        while (message := self._whole_message()) is None:
            ready = wait([self._pipe, *self._processes])
            if self._pipe in ready:
                self._received += os.read(self._pipe, _READ_BYTES)
            else:
                raise WorkerDiedError(_obituary(self._processes[ready[0]]))
        return pickle.loads(message)

    def _whole_message(self) -> bytes | None:
        """The first message that is complete: its length, as `Connection._send_bytes` writes it, and it."""
        for form, escape in (("!i", -1), ("!xxxxQ", None)):
            start = struct.calcsize(form)
            if len(self._received) < start:
                return None
            (length,) = struct.unpack(form, self._received[:start])
            if length != escape:
                break
        if len(self._received) < start + length:
            return None
        message = bytes(self._received[start : start + length])
        del self._received[: start + length]
        return message


def _obituary(process: Any) -> str:
    process.join(timeout=1)  # the exit code arrives a moment after the end
    code = process.exitcode
    if code == -signal.SIGKILL:
        how = "was killed, most likely because the machine ran out of memory; give fewer --workers"
    elif code is not None and code < 0:
        how = f"was ended by signal {-code} ({signal.Signals(-code).name})"
    else:
        how = f"ended with exit code {code}; its own message, if it had one, is above"
    return f"worker process {process.pid} {how}"


def follow_parent() -> None:
    """In a sinter worker: end when the parent does, and leave Ctrl-C to it.

    sinter's workers outlive a parent that was SIGKILLed and would go on using the machine. They
    unpickle their sampler as the first thing they do, so this is called from its `__setstate__`, where
    `multiprocessing.parent_process()` is not known yet.
    """
    if multiprocessing.current_process().name == "MainProcess":
        return
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()

    def wait_and_exit() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=wait_and_exit, name="follow-parent", daemon=True).start()
