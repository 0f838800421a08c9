"""Workers that die: the sweep ends with an error, and what was reported stays."""

from __future__ import annotations

import os
import pickle
import signal
import struct
from pathlib import Path

import pytest
import sinter
import stim

from global_decoders import make_decoder
from sims.decoders import NamedDecoder
from sims.sweeps import Limits, WorkerDiedError, collect_sweep, read_results
from sims.sweeps.tasks import CircuitFamily, sweep_tasks
from sims.sweeps.workers import _WatchedQueue


class DiesOnFifthBatch(sinter.Decoder):
    """PyMatching whose process is ended after a few batches, if it is not the test's own."""

    def __init__(self, how: str) -> None:
        self.how, self.home = how, os.getpid()

    def compile_decoder_for_dem(self, *, dem: stim.DetectorErrorModel) -> sinter.CompiledDecoder:
        return _Compiled(self, make_decoder("pymatching").compile_decoder_for_dem(dem=dem))


class _Compiled(sinter.CompiledDecoder):
    def __init__(self, decoder: DiesOnFifthBatch, inner: sinter.CompiledDecoder) -> None:
        self.decoder, self.inner, self.batches = decoder, inner, 0

    def decode_shots_bit_packed(self, *, bit_packed_detection_event_data):
        self.batches += 1
        if self.batches == 5 and os.getpid() != self.decoder.home:
            if self.decoder.how == "memory":
                raise MemoryError
            if self.decoder.how == "exit":
                os._exit(3)
            os.kill(os.getpid(), int(self.decoder.how))
        return self.inner.decode_shots_bit_packed(
            bit_packed_detection_event_data=bit_packed_detection_event_data
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "said", "workers"),
    [
        (str(int(signal.SIGKILL)), "was killed, most likely because the machine ran out of memory", 1),
        (str(int(signal.SIGKILL)), "was killed, most likely because the machine ran out of memory", 2),
        (str(int(signal.SIGTERM)), "SIGTERM", 1),
        ("exit", "ended with exit code 3", 2),
        ("memory", "ran out of memory", 1),
    ],
)
def test_a_worker_that_dies_ends_the_sweep_which_can_go_on(
    tmp_path: Path, how: str, said: str, workers: int
) -> None:
    csv = tmp_path / "results.csv"
    family = CircuitFamily(distance=(3,), p=(0.01,), basis=("x",))
    killer = [NamedDecoder("pymatching", DiesOnFifthBatch(how))]
    tasks = sweep_tasks(family, killer)
    with pytest.raises(WorkerDiedError, match=said) as failure:
        collect_sweep(tasks, killer, csv_path=csv, limits=Limits(10**7), workers=workers)
    assert f"what was reported is in {csv}, and the same command goes on" in str(failure.value)
    kept = sum(one.shots for one in read_results(csv).values())
    healthy = [NamedDecoder("pymatching", make_decoder("pymatching"))]
    (stats,) = collect_sweep(tasks, healthy, csv_path=csv, limits=Limits(kept + 3000), workers=workers)
    assert stats.shots == kept + 3000


class _FakeProcess:
    """A process as `_WatchedQueue` sees it: a sentinel that is readable once it ended."""

    pid, exitcode = 17, -9

    def __init__(self, sentinel: int) -> None:
        self.sentinel = sentinel

    def join(self, timeout: float) -> None:
        pass


class _Source:
    def __init__(self, reader: int) -> None:
        self._reader = os.fdopen(reader, "rb", buffering=0)


@pytest.mark.parametrize("form", ["!i", "!iQ"])
def test_messages_are_read_whole_and_a_torn_one_is_no_message(form: str) -> None:
    """Two messages in pieces, and the start of a third whose writer was killed in the middle of it."""
    read_end, write_end = os.pipe()
    alive, dead = os.pipe()
    queue = _WatchedQueue(_Source(read_end), [_FakeProcess(alive)])
    messages = [("one", b"x" * 5000), ("two", None)]
    wire = b""
    for message in messages:
        data = pickle.dumps(message)
        wire += (struct.pack("!i", len(data)) if form == "!i" else struct.pack("!iQ", -1, len(data))) + data
    os.write(write_end, wire[:3])
    os.write(write_end, wire[3:] + struct.pack("!i", 100) + b"torn")
    assert [queue.get(), queue.get()] == messages
    os.write(dead, b".")
    with pytest.raises(WorkerDiedError, match="worker process 17 was killed"):
        queue.get()
    for end in (write_end, alive, dead):
        os.close(end)
    queue._source._reader.close()


def test_sinters_own_connection_is_what_is_read() -> None:
    """The framing is that of the standard library on this Python."""
    import multiprocessing

    alive, dead = os.pipe()
    pipe = multiprocessing.get_context("spawn").SimpleQueue()
    queue = _WatchedQueue(pipe, [_FakeProcess(alive)])
    for message in ("short", list(range(3000))):
        pipe.put(message)
        assert queue.get() == message
    pipe.close()
    os.close(alive)
    os.close(dead)
