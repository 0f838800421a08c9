"""Service = in process = journal replay, bit for bit, undisturbed and with everything that can go wrong.

    python -m scripts.benchmarks.service.equality [--shots 10000] [--only KILL ...]

Every part decodes the same shots of a distance-3 memory experiment through the service while something is
injected, compares every COMMIT and RESULT (number, place, bits, flags) with a decoder in this process, and
replays the journal. The full disk is a small tmpfs, which needs root.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from decoder_service import ClientStream, DecoderClient, DisconnectedError, ServiceError
from decoder_service.building import BuiltSources, build_decoder, tables_for
from decoder_service.protocol import ErrorCode, Open, without_times
from decoder_service.server import BuildLimits
from decoder_service.store import replay, segments
from scripts.benchmarks.service.kit import (
    Running,
    Summary,
    in_process,
    memory,
    packed_rows,
    send_shots,
    server,
    summary,
)
from scripts.benchmarks.service.noisy import NoisyClient

CIRCUIT = memory(3, 7, 0.005)
TEXT = str(CIRCUIT)
OPTIONS = {"commit": 2, "buffer": 2}
BATCH = 50
WRONG = str(memory(5, 7, 0.005).detector_error_model(decompose_errors=True))
PATIENT: dict[str, Any] = {"gap_deadline": 20.0, "faults": 1 << 30}


Inject = Callable[[Running, DecoderClient, ClientStream, random.Random], str]


def nothing(running: Running, client: DecoderClient, stream: ClientStream, rng: random.Random) -> str:
    """Leaves the service alone."""
    return ""


def kill(running: Running, client: DecoderClient, stream: ClientStream, rng: random.Random) -> str:
    """Kills the worker in the middle of a batch; the time until the session goes on."""
    time.sleep(1.5)  # so that it has served long enough for the next one to start without a delay
    start = time.monotonic()
    os.kill(running.pids[0], signal.SIGKILL)
    _come_back(client)
    return f"{1000 * (time.monotonic() - start):.0f} ms"


def disconnect(running: Running, client: DecoderClient, stream: ClientStream, rng: random.Random) -> str:
    """Cuts the connection."""
    client.sock.shutdown(2)
    start = time.monotonic()
    _come_back(client)
    return f"{1000 * (time.monotonic() - start):.1f} ms"


def bad_reload(running: Running, client: DecoderClient, stream: ClientStream, rng: random.Random) -> str:
    """Asks for models that do not fit; each must be refused."""
    for bad in (WRONG, "error(0.1) D0 D1 D2\ndetector(0, 0, 0) D0", "no model"):
        try:
            client.reload(stream, bad)
        except ServiceError as error:
            if error.code is ErrorCode.RELOAD_REJECTED:
                continue
        raise RuntimeError(f"the model {bad[:20]!r} was not refused")
    return "3 refused"


def slow_reader(running: Running, client: DecoderClient, stream: ClientStream, rng: random.Random) -> str:
    """Does not read for a while in which outputs pile up."""
    time.sleep(0.05)
    return ""


def clock_jump(running: Running, client: DecoderClient, stream: ClientStream, rng: random.Random) -> str:
    """Stops the worker in the middle of a shot for a while: its clock has jumped when it goes on."""
    os.kill(running.pids[0], signal.SIGSTOP)
    time.sleep(0.3)
    os.kill(running.pids[0], signal.SIGCONT)
    return ""


INJECTIONS: dict[str, tuple[Inject, int]] = {
    "nothing": (nothing, 1),
    "noise": (nothing, 1),
    "kill": (kill, 20),
    "disconnect": (disconnect, 2),
    "bad-reload": (bad_reload, 20),
    "slow-reader": (slow_reader, 1),
    "clock-jump": (clock_jump, 20),
}
"""What is done in the middle of every n-th batch."""


def run(name: str, shots: list[list[bytes]], expected: list[Summary]) -> bool:
    """One part; prints what it found."""
    inject, every = INJECTIONS[name]
    rng = random.Random(1)
    notes: list[str] = []
    got: list[Summary] = []
    start = time.monotonic()
    output_bytes = 2048 if name == "slow-reader" else 1 << 20
    with server(prune=False, output_bytes=output_bytes, **PATIENT) as running:
        client = NoisyClient(running.path, resend_after=0.02)
        stream = client.open(TEXT, **OPTIONS)
        client.rng = rng if name == "noise" else None
        for at in range(0, len(shots), BATCH):
            batch = shots[at : at + BATCH]
            if inject is not nothing and (at // BATCH) % every == 0:
                for row in batch[0][:4]:
                    client.push(stream, row)
                notes.append(inject(running, client, stream, rng))
                for row in batch[0][4:]:
                    client.push(stream, row)
                batch = batch[1:]
            send_shots(client, stream, batch)
            while sum(out.final for out in stream.outputs) + sum(s[1] for s in got) < at + BATCH:
                client.sync(stream)
            got += map(summary, stream.outputs)
            stream.outputs.clear()
        client.rng = None
        stats = client.stats(stream)
        session = client.session
        client.sock.close()  # without CLOSE, so that the journal stays
        replayed, differ = _replay(running.state, session)
    equal = got == expected and replayed == len(expected) and not differ
    waits = sorted((note for note in notes if note), key=lambda note: float(note.split()[0]))
    print(
        f"{name}: {len(shots)} shots, {len(got)} outputs, equal to in process: {got == expected}; journal: "
        f"{replayed} outputs, {differ} differ; duplicates {stats.duplicates}, NACKs {stats.nacks}, erased "
        f"{stats.erased}, failed {stats.failed}; injected {len(notes)} times"
        + (f", median {waits[len(waits) // 2]}, longest {waits[-1]}" if waits else "")
        + f"; {time.monotonic() - start:.0f} s",
        flush=True,
    )
    return equal


def full_disk(shots: list[list[bytes]], expected: list[Summary]) -> bool:
    """Journals on a file system of 3 MiB: what was received before the error is right and recorded."""
    with tempfile.TemporaryDirectory() as folder:
        disk = Path(folder)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], check=True)
        try:
            with server(state=disk / "state", prune=False) as running:
                client = running.client()
                stream = client.open(TEXT, **OPTIONS)
                error = "none"
                try:
                    send_shots(client, stream, shots)
                except ServiceError as failure:
                    error = failure.code.name
                got = [summary(out) for out in stream.outputs]
                other = "accepted" if _opens(client) else "refused"
                session = client.session
                client.sock.close()
                replayed, differ = _replay(running.state, session)
        finally:
            subprocess.run(["umount", folder], check=True)
    equal = got == expected[: len(got)] and 0 < len(got) < len(expected) and replayed >= len(got)
    print(
        f"full disk: {error} after {len(got)} outputs, equal to in process: {got == expected[: len(got)]}; "
        f"journal: {replayed} outputs, {differ} differ; another OPEN is {other}",
        flush=True,
    )
    return equal and not differ and error == "JOURNAL_FAILED"


def main() -> int:
    """Runs the parts; fails if one differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shots", type=int, default=10_000)
    parser.add_argument("--only", nargs="*", choices=[*INJECTIONS, "full-disk"])
    flags = parser.parse_args()
    decoder = build_decoder(Open(model="0" * 64, **OPTIONS), TEXT)  # type: ignore[arg-type]
    shots = packed_rows(CIRCUIT.compile_sampler(seed=1).sample(flags.shots), decoder.shape)
    expected = in_process(decoder, shots)
    chosen = flags.only or [*INJECTIONS, "full-disk"]
    good = [
        full_disk(shots, expected) if name == "full-disk" else run(name, shots, expected) for name in chosen
    ]
    return int(not all(good))


def stored(models: Path) -> BuiltSources:
    """What a server has stored, for `replay`."""

    def text(digest: str) -> str:
        return (models / digest).read_text()

    return BuiltSources(text, lambda build: tables_for(build, text, BuildLimits()))


def _replay(state: Path, session: str) -> tuple[int, int]:
    """Outputs in the journal, and how many come out otherwise when it is decoded again."""
    models = state / "models"
    count = differ = 0
    folders = (state / "archive", state / "journal")
    for path in (segment.path(folder) for folder in folders for segment in segments(folder, session, 0)):
        replayed = replay(path, sources=stored(models))
        if replayed.torn:
            print(f"{path.name}: {replayed.torn}", flush=True)
        for recorded, made in replayed.outputs:
            count += len(recorded)
            # The last row before a crash may have led to outputs that were not recorded any more.
            differ += list(map(without_times, recorded)) != list(map(without_times, made))
    return count, differ


def _opens(client: DecoderClient) -> bool:
    try:
        client.open(TEXT, number=7, **OPTIONS)
    except ServiceError:
        return False
    return True


def _come_back(client: DecoderClient) -> None:
    while True:
        try:
            client.poll(1)
        except DisconnectedError:
            break
    while True:
        try:
            client.reconnect()
        except (DisconnectedError, ServiceError):
            continue
        return


if __name__ == "__main__":
    sys.exit(main())
