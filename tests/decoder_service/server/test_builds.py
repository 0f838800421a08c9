"""What a model may ask for: its build has limits, ends with its server, and costs nobody else anything."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from decoder_service.client import ServiceError
from decoder_service.protocol import ErrorCode
from decoder_service.server import BuildLimits

SMALL = BuildLimits(seconds=3.0, bytes=400 << 20, detectors=100_000)
BOMBS = {
    "a detector of a high number": ("dem", "error(0.1) D200000000\ndetector(0, 0, 0) D200000000"),
    "nested repeats": (
        "dem",
        "REPEAT 1000000 {\n" * 8
        + "error(0.1) D0 L0\ndetector(0, 0, 0) D0\nshift_detectors(0, 0, 1) 1\n"
        + "}\n" * 8,
    ),
    "200,000 nested blocks": ("circuit", "REPEAT 2 {\n" * 200_000 + "H 0\n" + "}\n" * 200_000),
    "200,000 nested blocks of a DEM": ("dem", "repeat 2 {\n" * 200_000 + "}\n" * 200_000),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_model_that_is_too_much_is_refused_and_nobody_notices(serve, kit, name: str) -> None:
    server = serve(build=SMALL)
    worker = server.pids
    kind, text = BOMBS[name]
    shots = kit.sample(4, seed=80)
    with server.client() as neighbour, server.client() as hostile:
        stream = neighbour.open(kit.text, **kit.options)
        with pytest.raises(ServiceError) as refused:
            hostile.open(
                text, kind=kind, input="detectors" if kind == "dem" else "measurements", **kit.options
            )
        assert refused.value.code is ErrorCode.BAD_MODEL
        kit.push_all(neighbour, stream, shots)
        assert kit.summaries(list(stream.outputs)) == kit.in_process(shots)
        assert hostile.open(kit.text, **kit.options).opened is not None
    assert server.pids == worker


def test_windows_of_2_to_the_32_rounds_are_refused(serve, kit) -> None:
    with serve(build=SMALL).client() as client:
        for options in ({"commit": 1 << 32, "buffer": 1 << 32}, {"commit": 1 << 31, "buffer": 2}):
            with pytest.raises(ServiceError, match="make windows of more than") as refused:
                client.open(kit.text, **options)
            assert refused.value.code is ErrorCode.BAD_MODEL


def test_time_is_limited_and_others_are_served_meanwhile(serve, kit) -> None:
    """Windows of 60,000 rounds take longer than anyone waits."""
    server = serve(build=SMALL)
    shots = kit.sample(4, seed=81)
    with server.client() as neighbour, server.client() as hostile:
        stream = neighbour.open(kit.text, **kit.options)
        start = time.monotonic()
        with pytest.raises(ServiceError) as refused:
            hostile.open(kit.text, commit=30_000, buffer=30_000, rounds=10**6)
        assert refused.value.code is ErrorCode.BAD_MODEL
        assert time.monotonic() - start < 60
        kit.push_all(neighbour, stream, shots)
        assert kit.summaries(list(stream.outputs)) == kit.in_process(shots)


def test_a_reload_has_limits_too(serve, kit) -> None:
    server = serve(build=SMALL)
    shots = kit.sample(4, seed=82)
    with server.client() as client:
        stream = client.open(kit.text, **kit.options)
        for kind, text in BOMBS.values():
            with pytest.raises(ServiceError) as refused:
                client.reload(stream, text, kind=kind)
            assert refused.value.code is ErrorCode.RELOAD_REJECTED
        kit.push_all(client, stream, shots)
        assert kit.summaries(list(stream.outputs)) == kit.in_process(shots)


BUILD = """
import os, sys, time
from pathlib import Path
from decoder_service.server import watcher
from decoder_service.building import BuildLimits

def child():
    watcher.end_with(parent)
    watcher.set_limits(BuildLimits())
    print(os.getpid(), flush=True)
    while True: time.sleep(1)

parent = os.getpid()
if not os.fork(): child()
time.sleep(600)
"""


def test_a_build_ends_with_its_server() -> None:
    """One survived SIGKILL of the server and grew to 5 GB."""
    with subprocess.Popen([sys.executable, "-c", BUILD], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        build = int(server.stdout.readline())
        limits = resource.prlimit(build, resource.RLIMIT_AS)
        assert (4 << 30) < limits[0] < (64 << 30)
        assert Path(f"/proc/{build}/oom_score_adj").read_text() == "1000\n", "rather it than a worker"
        server.kill()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{build}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_worker_that_has_its_memory_opens_no_more_streams(serve, kit) -> None:
    """Streams of one client could take all there is, and all others with them."""
    with serve(worker={"memory_bytes": 1 << 20}).client() as client:
        with pytest.raises(ServiceError, match=r"the worker has \d+ MiB, .+; the limit is 1 MiB") as refused:
            client.open(kit.text, **kit.options)
        assert refused.value.code is ErrorCode.LIMIT
