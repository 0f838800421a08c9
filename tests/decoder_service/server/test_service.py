"""The service gives what a decoder in this process gives, bit for bit, whatever happens on the way."""

from __future__ import annotations

import os
import random
import resource
import signal
import threading

import pytest

from decoder_service.building import BuiltSources, tables_for
from decoder_service.client import DecoderClient, DisconnectedError, ServiceError
from decoder_service.protocol import ErrorCode, Flag, without_times
from decoder_service.server import BuildLimits
from decoder_service.store import replay, segments
from scripts.benchmarks.service.noisy import NoisyClient

PATIENT = {"gap_deadline": 20.0}
"""Losses are repaired long before they would be erased."""


def sources(server) -> BuiltSources:
    """What the server has stored, for `replay`."""

    def text(digest: str) -> str:
        return (server.config.worker.folder.models / digest).read_text()

    return BuiltSources(text, lambda build: tables_for(build, text, BuildLimits()))


@pytest.mark.slow
def test_service_equals_in_process_and_the_journal_replays_to_the_same(serve, kit) -> None:
    server = serve(worker={"segment_bytes": 20_000})
    shots = kit.sample(150, seed=1)
    with server.client() as client:
        stream = client.open(kit.text, **kit.options)
        kit.push_all(client, stream, shots)
        outputs = list(stream.outputs)
        stats = client.stats(stream)
        assert (stats.shots, stats.rounds, stats.commits) == (150, 150 * 7, len(outputs))
    assert kit.summaries(outputs) == kit.in_process(shots)
    folder = server.config.worker.folder.archive
    files = [segment.path(folder) for segment in segments(folder, client.session, 0)]
    assert len(files) > 2
    count = 0
    for path in files:
        for recorded, made in replay(path, sources=sources(server)).outputs:
            assert list(map(without_times, made)) == list(map(without_times, recorded))
            count += len(recorded)
    assert count == len(outputs)


def test_detectors_of_a_dem(serve, kit) -> None:
    dem = str(kit.circuit.detector_error_model(decompose_errors=True))
    detections = kit.circuit.compile_detector_sampler(seed=3).sample(40).astype("uint8")
    options = kit.options | {"kind": "dem", "input": "detectors"}
    with serve().client() as client:
        stream = client.open(dem, **options)
        kit.push_all(client, stream, detections)
        assert kit.summaries(list(stream.outputs)) == kit.in_process(detections, text=dem, **options)


def test_longer_shots_than_the_model_has(serve, kit) -> None:
    """Rounds repeat, so a short circuit describes a shot of any length."""
    shots = kit.sample(
        3, seed=5, circuit=kit.circuit.generated("surface_code:rotated_memory_x", distance=3, rounds=61)
    )
    with serve().client() as client:
        stream = client.open(kit.text, rounds=61, **kit.options)
        assert stream.shape.rounds == 61
        kit.push_all(client, stream, shots)
        assert kit.summaries(list(stream.outputs)) == kit.in_process(shots, rounds=61)


@pytest.mark.parametrize("rounds", [7, 61])
def test_gaps_on_the_wire_are_those_in_process(serve, kit, rounds: int) -> None:
    """To the last bit, beside the same corrections; also when they are sent again."""
    circuit = kit.circuit.generated(
        "surface_code:rotated_memory_x", distance=3, rounds=rounds, after_clifford_depolarization=0.02
    )
    shots = kit.sample(12, seed=6, circuit=circuit)
    given = {"rounds": rounds} | kit.options | kit.sure
    expected = kit.in_process(shots, **given)
    with serve().client() as client:
        stream = client.open(kit.text, **given)
        kit.push_all(client, stream, shots)
        assert kit.summaries(list(stream.outputs)) == expected
        gaps = [gap for *_, gap in expected]
        assert [gap is not None for gap in gaps] == [final for _, final, *_ in expected]
        assert len(set(gaps)) > 6
        stream.received = 0  # as if nothing had come
        stream.outputs.clear()
        client.reconnect()
        client.poll(1)
        assert kit.summaries(list(stream.outputs)) == expected
        plain = client.open(kit.text, **given | {"gap": False})
        kit.push_all(client, plain, shots)
        assert kit.summaries(list(plain.outputs)) == [(*summary[:-1], None) for summary in expected]


def test_a_stream_without_gaps_is_refused_where_they_are_asked_for(serve, kit) -> None:
    why = "gap=True with decoder='pymatching', which has no gap in the last window of shots of 7 rounds"
    with serve().client() as client:
        with pytest.raises(ServiceError, match=why) as refused:
            client.open(kit.text, gap=True, **kit.options)
        assert (refused.value.code, refused.value.scope) == (ErrorCode.BAD_MODEL, "stream")


@pytest.mark.slow
@pytest.mark.parametrize("when", ["between rounds", "between shots"])
def test_a_killed_worker_costs_nothing(serve, kit, when: str) -> None:
    server = serve(fresh=f"killed {when}")
    shots = kit.sample(20, seed=7)
    with server.client() as client:
        stream = client.open(kit.text, **kit.options, **kit.sure)
        kit.push_all(client, stream, shots[:10])
        *rounds, final = kit.rows(shots[10], stream.shape)
        before = 4 if when == "between rounds" else 0
        for row in rounds[:before]:
            client.push(stream, row)
        old = server.pids
        os.kill(old[0], signal.SIGKILL)
        with pytest.raises(DisconnectedError):
            client.stats(stream)
        kit.come_back(client)
        assert server.pids != old
        for row in rounds[before:]:
            client.push(stream, row)
        client.finish(stream, final)
        kit.push_all(client, stream, shots[11:])
        assert kit.summaries(list(stream.outputs)) == kit.in_process(shots, **kit.sure)
        assert stream.errors == []


def test_a_client_comes_back_and_the_old_connection_is_superseded(serve, kit) -> None:
    server = serve()
    shots = kit.sample(12, seed=8)
    with server.client() as client:
        stream = client.open(kit.text, **kit.options)
        kit.push_all(client, stream, shots[:4])
        *rounds, final = kit.rows(shots[4], stream.shape)
        for row in rounds:
            client.push(stream, row)
        client.sock.shutdown(2)
        client.reconnect()
        client.finish(stream, final)
        abandoned = client.sock
        client.sock = abandoned.dup()
        client.reconnect()  # while the server still has the old one open
        kit.push_all(client, stream, shots[5:])
        while data := abandoned.recv(65536):
            last = data
        abandoned.close()
        assert b"took over" in last
        assert kit.summaries(list(stream.outputs)) == kit.in_process(shots)


def test_a_session_that_was_closed_is_not_resumed(serve, kit) -> None:
    """Its journals stay, in the archive."""
    server = serve()
    with server.client() as client:
        kit.push_all(client, client.open(kit.text, **kit.options), kit.sample(2, seed=2))
    with server.client(session=client.session) as again:
        assert not again.welcome.resumed
        stream = again.open(kit.text, **kit.options)
        assert (stream.opened.epoch, stream.opened.outputs) == (0, 0)
        again.sock.close()
        again.reconnect()
        assert again.welcome.resumed


@pytest.mark.parametrize("seed", range(3))
def test_duplicated_reordered_lost_cut_and_damaged_frames_cost_nothing(serve, kit, seed: int) -> None:
    server = serve(worker=PATIENT | {"faults": 10**6})
    shots = kit.sample(40, seed=seed)
    with NoisyClient(server.address, resend_after=0.02) as client:
        stream = client.open(kit.text, **kit.options)
        client.rng, client.odds = random.Random(seed), 12
        kit.push_all(client, stream, shots)
        client.rng = None
        stats = client.stats(stream)
        assert min(stats.duplicates, stats.nacks) > 10
        assert (stats.erased, stats.failed, stats.conflicts) == (0, 0, 0)
        assert kit.summaries(list(stream.outputs)) == kit.in_process(shots)


def test_rounds_lost_for_good_are_erased_and_say_so(serve, kit) -> None:
    shots = kit.sample(6, seed=9)
    lost = {(1, 2), (3, 0), (3, 1)}
    with serve(worker={"gap_deadline": 0.05}).client(resend_after=60) as client:
        stream = client.open(kit.text, **kit.options)
        for epoch, shot in enumerate(shots):
            for row in kit.rows(shot, stream.shape):
                frame = stream.data(row)
                if (epoch, frame.sequence) in lost:
                    stream._sent.pop()  # never to be sent again
                else:
                    client.send(frame)
            while not (stream.outputs and stream.outputs[-1].epoch == epoch and stream.outputs[-1].final):
                client.poll(1)
        assert client.stats(stream).erased == 3
        got, expected = list(stream.outputs), kit.in_process(shots, erased=lost)
        assert kit.summaries(got) == expected
        assert [bool(o.flags & Flag.DEGRADED) for o in got if o.final] == [e in (1, 3) for e in range(6)]


def test_a_lost_round_fails_the_shot_by_policy_and_the_next_one_is_clean(serve, kit) -> None:
    shots = kit.sample(3, seed=10)
    with serve(worker={"gap_deadline": 0.05}).client(resend_after=60) as client:
        stream = client.open(kit.text, on_gap="fail", **kit.options)
        for epoch, shot in enumerate(shots):
            for row in kit.rows(shot, stream.shape):
                frame = stream.data(row)
                if (epoch, frame.sequence) == (1, 3):
                    stream._sent.pop()  # never to be sent again
                else:
                    client.send(frame)
        while sum(out.final for out in stream.outputs) < 3:
            client.poll(1)
        assert [error.code for error in stream.errors] == [ErrorCode.SHOT_FAILED]
        results = {out.epoch: out.flags for out in stream.outputs if out.final}
        assert results == {0: 0, 1: Flag.FAILED, 2: 0}
        good = [out for out in stream.outputs if out.epoch != 1]
        assert kit.summaries(good) == [s for s in kit.in_process(shots) if s[0] != 1]


def test_reload_takes_over_and_a_bad_one_changes_nothing(serve, kit) -> None:
    shots = kit.sample(30, seed=11)
    other = str(kit.other.detector_error_model(decompose_errors=True))
    wrong = str(
        kit.circuit.generated(
            "surface_code:rotated_memory_x", distance=5, rounds=7, after_clifford_depolarization=0.01
        ).detector_error_model(decompose_errors=True)
    )
    with serve().client() as client:
        stream = client.open(kit.text, **kit.options)
        kit.push_all(client, stream, shots[:10])
        for bad in (wrong, "error(0.1) D0 D1 D2 D3\ndetector(0, 0, 0) D0", "not a model", ""):
            with pytest.raises(ServiceError) as refused:
                client.reload(stream, bad)
            assert refused.value.code is ErrorCode.RELOAD_REJECTED
        kit.push_all(client, stream, shots[10:20])
        client.reload(stream, other)
        kit.push_all(client, stream, shots[20:])
        outputs = list(stream.outputs)
    before = [s for s in kit.summaries(outputs) if s[0] < 20]
    assert before == kit.in_process(shots[:20])
    after = [(e - 20, *rest) for e, *rest in kit.summaries(outputs) if e >= 20]
    assert after == kit.in_process(shots[20:], text=str(kit.other))
    assert len({out.commit.model for out in outputs}) == 2


@pytest.mark.slow
def test_a_killed_worker_keeps_the_reloaded_model(serve, kit) -> None:
    server = serve(fresh="killed after reload", worker={"segment_bytes": 2000})
    shots = kit.sample(30, seed=12)
    with server.client() as client:
        stream = client.open(kit.text, **kit.options)
        client.reload(stream, str(kit.other), kind="circuit")
        kit.push_all(client, stream, shots[:20])
        os.kill(server.pids[0], signal.SIGKILL)
        with pytest.raises(DisconnectedError):
            client.stats(stream)
        kit.come_back(client)
        kit.push_all(client, stream, shots[20:])
        assert kit.summaries(list(stream.outputs)) == kit.in_process(shots, text=str(kit.other))


def test_a_full_disk_is_an_error_and_no_unrecorded_commit_is_sent(serve, kit) -> None:
    server = serve()
    with server.client() as client:
        client.open(kit.text, number=7, **kit.options)  # so that the model is stored
        (worker,) = server.pids
        before = resource.prlimit(worker, resource.RLIMIT_FSIZE)
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (100, before[1]))
        with pytest.raises(ServiceError) as failed:
            client.open(kit.text, **kit.options)
        assert failed.value.code is ErrorCode.JOURNAL_FAILED
        journals = server.config.worker.folder.journals
        assert {file.name.split(".")[0] for file in journals.iterdir()} == {f"{client.session}-7"}
        resource.prlimit(worker, resource.RLIMIT_FSIZE, before)
        other = client.open(kit.text, number=1, **kit.options)
        shots = kit.sample(5, seed=13)
        kit.push_all(client, other, shots)
        assert kit.summaries(list(other.outputs)) == kit.in_process(shots)


@pytest.mark.slow
def test_overload_is_answered_and_a_slow_reader_delays_nobody(serve, kit) -> None:
    """One client ignores credits and does not read; another one on the same worker is served."""
    server = serve(worker=PATIENT | {"window": 16, "output_bytes": 4096})
    shots = kit.sample(60, seed=14)
    with server.client() as rude, server.client() as polite:
        stream = rude.open(kit.text, **kit.options)
        frames = [stream.data(row) for shot in shots for row in kit.rows(shot, stream.shape)]
        sender = threading.Thread(target=lambda: rude.send(*frames))
        sender.start()
        other = polite.open(kit.text, **kit.options)
        kit.push_all(polite, other, shots)
        sender.join()
        assert kit.summaries(list(other.outputs)) == kit.in_process(shots)
        while stream.in_flight:
            if not rude.poll(0.05):
                rude.send(*stream.unacknowledged())
        assert ErrorCode.OVERLOAD in {error.code for error in stream.errors}
        assert kit.summaries(list(stream.outputs)) == kit.in_process(shots)


@pytest.mark.slow
def test_streams_do_not_see_each_other(serve, kit) -> None:
    server = serve(workers=2)
    shots = [kit.sample(8, seed=20 + n) for n in range(4)]
    with server.client() as one, server.client() as two:
        streams = [(client, client.open(kit.text, **kit.options)) for client in (one, one, two, two)]
        for k in range(8):
            lines = [kit.rows(shots[n][k], stream.shape) for n, (_, stream) in enumerate(streams)]
            for at in range(streams[0][1].shape.rounds):
                for n, (client, stream) in enumerate(streams):
                    client.push(stream, lines[n][at])
            for n, (client, stream) in enumerate(streams):
                client.finish(stream, lines[n][-1])
        for n, (_, stream) in enumerate(streams):
            assert kit.summaries(list(stream.outputs)) == kit.in_process(shots[n])
        sessions = [len(worker.sessions) for worker in server.front_end.supervisor.workers]
        assert sessions == [1, 1]


def test_stopping_lets_the_shot_in_flight_end(serve, kit) -> None:
    server = serve(fresh="drain")
    shots = kit.sample(2, seed=15)
    client = server.client()
    stream = client.open(kit.text, **kit.options)
    kit.push_all(client, stream, shots[:1])
    *rounds, final = kit.rows(shots[1], stream.shape)
    for row in rounds[:3]:
        client.push(stream, row)
    client.sync(stream)
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    while not client.errors:
        client.poll(1)
    assert [error.code for error in client.errors] == [ErrorCode.DRAINING]
    for row in rounds[3:]:
        client.push(stream, row)
    client.finish(stream, final)
    assert kit.summaries(list(stream.outputs)) == kit.in_process(shots)
    with pytest.raises(DisconnectedError):
        _poll_for_ever(client)
    stopping.join()
    assert not server.address.exists()
    client.sock.close()


def _poll_for_ever(client: DecoderClient) -> None:
    while True:
        client.poll(5)
