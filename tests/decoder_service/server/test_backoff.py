"""A worker that keeps dying is started again ever more seldom, and the service says so."""

import os
import signal
import time

from decoder_service.server import exposition
from decoder_service.server.backoff import FIRST, MOST, SERVED, Backoff


def test_waits_double_up_to_a_bound_and_end_with_service() -> None:
    backoff = Backoff()
    waits = [backoff.delay(0, served=0.1) for _ in range(40)]
    assert waits[:4] == [0.0, FIRST, 2 * FIRST, 4 * FIRST]
    assert max(waits) == waits[-1] == MOST
    assert backoff.delay(1, served=0.1) == 0.0
    assert backoff.delay(0, served=SERVED) == 0.0
    assert backoff.delay(0, served=0.1) == FIRST


def test_a_worker_that_dies_again_and_again(serve) -> None:
    server = serve(fresh="dies")
    supervisor = server.front_end.supervisor
    deadline = time.monotonic() + 60
    while supervisor.restart_delay < 2 * FIRST:
        assert time.monotonic() < deadline
        handle = supervisor.workers[0]
        if not handle.lost:
            os.kill(handle.process.pid, signal.SIGKILL)
        time.sleep(0.02)
    assert supervisor.restarts >= 3
    page = exposition.prometheus_text(server.front_end).decode()
    assert f"qecpipe_worker_restart_delay_seconds {supervisor.restart_delay}" in page
    while supervisor.workers[0].lost or not supervisor.workers[0].ready:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with server.client() as client:
        assert client.welcome.resumed is False
