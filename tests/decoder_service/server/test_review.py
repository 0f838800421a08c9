"""What a hostile review found: each of these once crashed a worker, lost something or held others up."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from decoder_service.client import ServiceError
from decoder_service.client.stream import ClientStream
from decoder_service.protocol import (
    Close,
    ErrorCode,
    Frame,
    FrameType,
    Open,
    encode_frame,
    encode_message,
    encode_nack,
)
from decoder_service.protocol.payloads import NackPayload
from decoder_service.session import StreamShape
from decoder_service.store import ModelLimitError, ModelStore, StateFolder


def test_models_that_nobody_uses_make_room_for_new_ones(tmp_path: Path) -> None:
    """A service that learns its noise reloads for ever."""
    state = StateFolder(tmp_path)
    strict = ModelStore(state, max_bytes=100, max_models=2)
    old, used = strict.put(b"old"), strict.put(b"used")
    with pytest.raises(ModelLimitError, match="2 models"):
        strict.put(b"new")
    store = ModelStore(state, max_bytes=100, max_models=2, in_use=0.05)
    time.sleep(0.1)
    store.touch(used)
    new = store.put(b"new")
    assert [name in store for name in (old, used, new)] == [False, True, True]
    store.touch(used)
    with pytest.raises(ModelLimitError):
        store.put(b"one more")  # all are in use


def test_reset_between_shots_keeps_what_was_not_acknowledged_and_is_said_again() -> None:
    stream = ClientStream(0, Open(model="0" * 64))
    stream.shape = StreamShape(layers=((2, 8),), final_bits=8, num_observables=1)
    sent = [stream.data(b"\1") for _ in range(3)]
    assert stream.reset() == Frame(FrameType.RESET, 0, 1)
    stream.data(b"\1")
    assert stream.reset().epoch == 2
    again = stream.unacknowledged()
    assert [(f.type, f.epoch, f.sequence) for f in again] == [
        (FrameType.RESET, 2, 0),
        *((f.type, f.epoch, f.sequence) for f in sent),
    ]
    stream.handle(Frame(FrameType.RESET, 0, 2))
    assert len(stream.unacknowledged()) == 3
    huge = Frame(FrameType.NACK, 0, 0, 1, encode_nack(NackPayload(1 << 63, 1)))
    assert [f.sequence for f in stream.handle(huge)] == [1, 2]


def test_a_second_connection_during_a_restore_gets_the_restored_streams(serve, kit) -> None:
    server = serve(fresh="restore race", worker={"linger": 0.0})
    shots = kit.sample(4, seed=60)
    with server.client() as client:
        stream = client.open(kit.text, **kit.options)
        kit.push_all(client, stream, shots[:2])
        client.sock.close()
        time.sleep(2.5)  # the session lingers no longer: only its journal is left
        probes = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        for probe in probes:  # connections that say HELLO and leave while the journal is read
            probe.connect(str(server.address))
            hello = b"\x81\xa7session\xd9 " + client.session.encode()
            probe.sendall(encode_frame(Frame(FrameType.HELLO, payload=hello)))
        client.reconnect()
        for probe in probes:
            probe.close()
        kit.push_all(client, stream, shots[2:])
        assert kit.summaries(list(stream.outputs)) == kit.in_process(shots)


def test_a_stream_that_pings_and_floods_does_not_hold_up_another(serve, kit) -> None:
    """PING once decoded the whole window in one go."""
    server = serve(fresh="fair")
    shots = kit.sample(300, seed=61)
    with server.client() as busy, server.client() as calm:
        first, second = busy.open(kit.text, **kit.options), calm.open(kit.text, **kit.options)
        flood = threading.Thread(target=lambda: kit.push_all(busy, first, shots))
        flood.start()
        kit.push_all(calm, second, shots[:50])
        flood.join()
        assert kit.summaries(list(first.outputs)) == kit.in_process(shots)
        assert kit.summaries(list(second.outputs)) == kit.in_process(shots[:50])


def test_a_close_is_answered_after_what_came_before_it(serve, kit) -> None:
    with serve().client() as client:
        stream = client.open(kit.text, **kit.options)
        shots = kit.sample(20, seed=62)
        frames = [stream.data(row) for shot in shots for row in kit.rows(shot, stream.shape)]
        client.send(*frames, Frame(FrameType.CLOSE, stream.number, payload=encode_message(Close())))
        while not stream.closed:
            client.poll(1)
        assert kit.summaries(list(stream.outputs)) == kit.in_process(shots)


def test_a_disk_that_fails_an_open_costs_nobody_else_anything(serve, kit) -> None:
    server = serve(fresh="fault")
    worker = server.pids
    shots = kit.sample(4, seed=63)
    with server.client() as neighbour, server.client() as client:
        calm = neighbour.open(kit.text, **kit.options)
        stream = client.open(kit.text, **kit.options)
        kit.push_all(client, stream, shots[:2])
        journals = server.config.worker.folder.journals
        hidden = journals.rename(journals.with_name("hidden"))
        journals.write_text("no folder any more")  # OSErrors where there never are any
        with pytest.raises(ServiceError) as refused:
            client.open(kit.text, number=5, **kit.options)
        assert refused.value.code is ErrorCode.JOURNAL_FAILED
        journals.unlink()
        hidden.rename(journals)
        kit.push_all(client, stream, shots[2:])
        kit.push_all(neighbour, calm, shots)
        assert kit.summaries(list(stream.outputs)) == kit.in_process(shots)
    assert server.pids == worker
