"""Who gets in, and what a stranger can do: nothing but be told so."""

from __future__ import annotations

import os
import random
import shutil
import socket
import ssl
import stat
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import stim

from decoder_service.client import DecoderClient, DisconnectedError, ServiceError
from decoder_service.load import LoadPlan, StreamOptions, run_service, sample_shots
from decoder_service.protocol import (
    HEADER_BYTES,
    Error,
    ErrorCode,
    Flag,
    Frame,
    FrameParser,
    FrameType,
    Hello,
    decode_message,
    encode_frame,
    encode_message,
)
from decoder_service.server import ServerConfig, TcpAddress, TlsFiles, WorkerConfig
from decoder_service.server.front_end import listen_unix

TOKEN = "a token of some length"
WORKER = WorkerConfig(state="state")
ONE_ROUND = str(
    stim.Circuit.generated(
        "surface_code:rotated_memory_x", distance=3, rounds=1, after_clifford_depolarization=0.01
    )
)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org", ""])
def test_anything_but_loopback_needs_tls_and_a_token(host: str, tmp_path: Path) -> None:
    tls = TlsFiles(tmp_path / "cert", tmp_path / "key")
    address = TcpAddress(host, 4000)
    for files, token in ((None, ""), (tls, ""), (None, TOKEN)):
        with pytest.raises(ValueError, match="refusing to listen on"):
            ServerConfig(worker=WORKER, tcp=address, tls=files, token=token)
    assert ServerConfig(worker=WORKER, tcp=address, tls=tls, token=TOKEN).token == TOKEN


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_neither(host: str) -> None:
    assert ServerConfig(worker=WORKER, tcp=TcpAddress(host, 0)).tls is None


def test_short_tokens_and_no_address_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="5 characters"):
        ServerConfig(worker=WORKER, unix=tmp_path / "s", token="short")
    with pytest.raises(ValueError, match="address"):
        ServerConfig(worker=WORKER)


def test_the_socket_is_private_and_a_live_one_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with listen_unix(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with pytest.raises(ValueError, match="listens on"):
            listen_unix(path)
    listen_unix(path).close()  # left behind by a server that died
    path.unlink()
    path.write_text("precious")
    with pytest.raises(ValueError, match="not a socket"):
        listen_unix(path)
    assert path.read_text() == "precious"


def test_a_wrong_token_is_refused_and_the_right_one_works(serve, kit) -> None:
    server = serve(token=TOKEN)
    for token in ("", "another token, just as long"):
        with pytest.raises(ServiceError) as refused:
            server.client(token=token)
        assert refused.value.code is ErrorCode.UNAUTHORIZED
    with server.client(token=TOKEN) as client:
        assert not client.welcome.resumed


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        encode_frame(Frame(FrameType.CLOSE, 0xFFFFFFFF)),
        encode_frame(Frame(FrameType.HELLO, payload=b"\x80")),
        encode_frame(Frame(FrameType.HELLO, payload=encode_message(Hello("../" * 10 + "ab")))),
        encode_frame(Frame(FrameType.HELLO, payload=bytes(70_000)))[:HEADER_BYTES],
    ],
    ids=["http", "close", "empty hello", "path as session", "too large"],
)
def test_whoever_does_not_say_hello_is_turned_away(serve, data: bytes) -> None:
    with _raw(serve().address) as sock:
        sock.sendall(data)
        answer = _read_all(sock)
    (frame,) = FrameParser().feed(answer)
    assert isinstance(frame, Frame)
    assert decode_message(frame.payload, Error).code is ErrorCode.HANDSHAKE


def test_silence_is_cut_off_with_an_error(serve) -> None:
    server = serve(handshake=0.2)
    with _raw(server.address) as sock:
        sock.sendall(encode_frame(Frame(FrameType.HELLO))[:10])
        (frame,) = FrameParser().feed(_read_all(sock))
    assert isinstance(frame, Frame)
    error = decode_message(frame.payload, Error)
    assert (error.code, error.scope) == (ErrorCode.HANDSHAKE, "connection")
    assert "no HELLO came within 0.2 s" in error.message


def test_connections_without_a_hello_shut_nobody_out(serve, kit) -> None:
    """64 of them did. Now the oldest of them makes room."""
    server = serve(connections=8, half_open=4, handshake=30.0)
    silent = [_raw(server.address) for _ in range(20)]
    for _ in range(3):
        with server.client() as client:
            assert client.open(kit.text, **kit.options).opened is not None
    (frame,) = FrameParser().feed(_read_all(silent[0]))
    assert isinstance(frame, Frame)
    assert decode_message(frame.payload, Error).code is ErrorCode.LIMIT
    assert server.front_end.supervisor.connections + len(server.front_end.handshakes) <= 4 + 1
    for sock in silent:
        sock.close()


def test_who_comes_back_takes_the_place_of_the_connection_that_was_lost(serve, kit) -> None:
    """At the limit of connections it was refused, for a connection that nobody was at any more."""
    server = serve(connections=2, fresh="full")
    with server.client() as one, server.client() as two:
        stream = two.open(kit.text, **kit.options)
        lost = two.sock
        two.sock = lost.dup()  # the server sees no end of it
        two.reconnect()
        shots = kit.sample(2, seed=41)
        kit.push_all(two, stream, shots)
        assert kit.summaries(list(stream.outputs)) == kit.in_process(shots)
        lost.close()
        with pytest.raises(ServiceError, match="2 connections are open"):
            server.client()
        assert one.welcome.resumed is False


def test_a_tcp_peer_that_vanished_loses_its_place(serve) -> None:
    """A connection without a machine at its other end stayed for ever: nothing is sent between two shots."""
    server = serve(tcp=TcpAddress("127.0.0.1", 0))
    port = server.front_end.tcp_port
    with DecoderClient(("127.0.0.1", port)):
        (timer,) = [
            columns[5].split(":")[0]
            for columns in (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
            if columns[1].endswith(f":{port:04X}") and columns[3] == "01"  # its end of an open connection
        ]
    assert timer == "02", "a keepalive timer runs"


def _listen(path: Path, start: threading.Barrier) -> socket.socket | str:
    start.wait()
    try:
        return listen_unix(path)
    except ValueError as error:
        return str(error)


def test_of_servers_that_start_at_the_same_time_one_gets_the_socket(tmp_path: Path) -> None:
    """Both found nobody there, and one removed the socket of the other."""
    start = threading.Barrier(4)
    with ThreadPoolExecutor(4) as servers:
        for path in (tmp_path / f"s{attempt}" for attempt in range(20)):
            found = list(servers.map(_listen, [path] * 4, [start] * 4))
            (listener,) = (each for each in found if isinstance(each, socket.socket))
            assert sum("a server listens on" in str(each) for each in found) == 3
            with listener, socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(path))


def test_a_socket_in_a_folder_that_is_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file or directory of its folder"):
        listen_unix(tmp_path / "nowhere" / "s")


def test_connections_streams_and_models_are_limited(serve, kit) -> None:
    server = serve(connections=2, worker={"streams": 1, "model_bytes": 20_000})
    with server.client() as one, server.client() as two:
        with pytest.raises(ServiceError) as refused:
            server.client()
        assert refused.value.code is ErrorCode.LIMIT
        one.open(kit.text, **kit.options)
        with pytest.raises(ServiceError) as refused:
            one.open(kit.text, **kit.options)
        assert refused.value.code is ErrorCode.LIMIT
        with pytest.raises(ServiceError) as refused:
            two.open("# " + "x" * 20_000, **kit.options)
        assert refused.value.code is ErrorCode.LIMIT


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("not a circuit", {}),
        ("H 0\nM 0", {}),
        (None, {"commit": None}),
        (None, {"decoder": "no-such-decoder"}),
        (None, {"rounds": (1 << 32) + 1}),
        (ONE_ROUND, {"rounds": 9}),  # whose layers show no repetition
        (None, {"buffer": 0}),
        (None, {"predecoder": "/etc/passwd"}),
        (None, {"predecoder": "none-that-is-shipped"}),
    ],
    ids=lambda value: "one round" if value == ONE_ROUND else str(value),
)
def test_what_makes_no_decoder_is_said(serve, kit, model: str | None, options: dict) -> None:
    with serve().client() as client:
        with pytest.raises(ServiceError) as refused:
            client.open(model or kit.text, **(kit.options | options))
        assert refused.value.code in (ErrorCode.BAD_MODEL, ErrorCode.BAD_FRAME)
        assert client.open(kit.text, **kit.options).opened is not None


def test_the_longest_shot_is_that_of_the_protocol(serve, kit) -> None:
    with serve().client() as client:
        stream = client.open(kit.text, **kit.options, rounds=1 << 32)
        assert stream.shape.layers == ((1 << 32, 8),)


def test_fuzzed_frames_are_answered_or_closed_by_rule_and_harm_nobody(serve, kit) -> None:
    """20,000 frames, sound and broken, of all types; beside them a client that must not notice."""
    server = serve(worker={"faults": 50})
    worker = server.pids[0]
    shots = kit.sample(20, seed=30)
    rng = random.Random(1)
    with server.client() as client:
        stream = client.open(kit.text, **kit.options)
        kit.push_all(client, stream, shots[:10])
        before = _resident(worker)
        sent = 0
        while sent < 20_000:
            sent += _fuzz(server.address, rng, kit.text)
        assert server.pids == [worker]
        kit.push_all(client, stream, shots[10:])
        assert kit.summaries(list(stream.outputs)) == kit.in_process(shots)
        assert _resident(worker) < 1.5 * before


@pytest.mark.slow
def test_tcp_on_loopback_and_tls_with_a_token(serve, kit, tmp_path: Path) -> None:
    tcp = serve(unix=None, tcp=TcpAddress("127.0.0.1", 0))
    shots = kit.sample(5, seed=31)
    with DecoderClient(("127.0.0.1", tcp.front_end.tcp_port)) as client:
        stream = client.open(kit.text, **kit.options)
        kit.push_all(client, stream, shots)
        assert kit.summaries(list(stream.outputs)) == kit.in_process(shots)
    files = _certificate(tmp_path)
    tls = serve(unix=None, tcp=TcpAddress("0.0.0.0", 0), tls=files, token=TOKEN)
    context = ssl.create_default_context(cafile=str(files.certificate))
    with DecoderClient(("localhost", tls.front_end.tcp_port), token=TOKEN, tls=context) as client:
        stream = client.open(kit.text, **kit.options)
        kit.push_all(client, stream, shots)
        assert kit.summaries(list(stream.outputs)) == kit.in_process(shots)
        stream.outputs.clear()
        load = sample_shots(kit.circuit, StreamOptions(**kit.options), rows=80, seed=32)
        plan = LoadPlan(period_ns=2e5, rows_per_shot=8, shots=100, rounds_per_block=3)
        assert run_service(client, [stream], load, plan=plan).complete
    with pytest.raises(DisconnectedError):
        DecoderClient(("127.0.0.1", tls.front_end.tcp_port), token=TOKEN, timeout=5)


def _fuzz(address: Path, rng: random.Random, text: str) -> int:
    """Sends up to 500 frames on one connection, reading the answers; returns how many."""
    with _raw(address) as sock:
        hello = Hello(session=f"{rng.getrandbits(128):032x}")
        sock.sendall(encode_frame(Frame(FrameType.HELLO, payload=encode_message(hello))))
        sock.settimeout(0.0)
        for count in range(500):
            data = _fuzzed(rng)
            try:
                sock.setblocking(True)
                sock.sendall(data)
                sock.setblocking(False)
                while sock.recv(1 << 16):
                    pass
                return count + 1  # closed by rule
            except BlockingIOError:
                continue
            except OSError:
                return count + 1
        return 500


def _fuzzed(rng: random.Random) -> bytes:
    frame = Frame(
        rng.choice(list(FrameType)),
        rng.choice([0, 0, 1, rng.getrandbits(32)]),
        rng.choice([0, 1, rng.getrandbits(32)]),
        rng.choice([0, 1, 2, rng.getrandbits(64)]),
        rng.randbytes(rng.choice([0, 1, 2, 60])),
        rng.choice([0, Flag.ERASED, Flag.RESENT, rng.getrandbits(16)]),
    )
    if frame.stream == 0xFFFFFFFF:
        frame = frame._replace(stream=1)
    data = bytearray(encode_frame(frame))
    if rng.random() < 0.1:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    if rng.random() < 0.02:
        return rng.randbytes(100)
    return bytes(data)


def _raw(address: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(10)
    sock.connect(str(address))
    return sock


def _read_all(sock: socket.socket) -> bytes:
    data = b""
    try:
        while part := sock.recv(65536):
            data += part
    except ConnectionResetError:
        pass
    return data


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _certificate(folder: Path) -> TlsFiles:
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command, which makes the test's certificate, is not installed")
    files = TlsFiles(folder / "cert.pem", folder / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", str(files.key), "-out", str(files.certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return files
