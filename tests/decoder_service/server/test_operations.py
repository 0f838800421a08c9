"""Metrics, the status page, and the two verbs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import decoder_service
from sims.cli import serve as serve_verb
from sims.cli import stream as stream_verb

VERB = "import sys, importlib; sys.exit(importlib.import_module('sims.cli.' + sys.argv[1]).run(sys.argv[2:]))"


def get(port: int | None, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.read()


def test_metrics_and_status_count_what_happened(serve, kit) -> None:
    server = serve(http=0)
    shots = kit.sample(30, seed=40)
    with server.client() as client:
        stream = client.open(kit.text, **kit.options)
        kit.push_all(client, stream, shots)
        client.send(*[stream.data(kit.rows(shots[0], stream.shape)[0])] * 2)
        client.sync(stream)
        assert stream.in_flight == 0
        _samples(server.front_end.http_port, until=("qecpipe_duplicates_total", 1))
        samples = _samples(server.front_end.http_port, until=("qecpipe_credits", 2048))
        assert samples["qecpipe_rounds_total"] == 30 * 7 + 1
        assert samples["qecpipe_shots_total"] == 30
        assert samples["qecpipe_commits_total"] == len(stream.outputs)
        assert samples["qecpipe_round_seconds_count"] == 2 * (30 * 8 + 1)
        status = json.loads(get(server.front_end.http_port, "/status.json"))
        assert status["counters"]["shots"] == 30
        (shown,) = status["streams"]
        assert shown["name"] == f"{client.session[:8]}/0"
        assert shown["model_id"] == stream.outputs[-1].commit.model.hex()
        assert b"<title>qecpipe decoder service</title>" in get(server.front_end.http_port, "/")


def test_pages_are_for_this_machine_and_only_to_be_read(serve) -> None:
    port = serve(http=0).front_end.http_port
    for line, headers, code in (
        (b"POST /metrics", b"", b"405"),
        (b"GET /etc/passwd", b"", b"404"),
        (b"GET /status.json", b"Host: evil.example:80\r\n", b"403"),
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            sock.sendall(line + b" HTTP/1.1\r\n" + headers + b"\r\n")
            assert sock.recv(100).split(b" ")[1] == code


@pytest.mark.slow
def test_serve_and_stream(kit, tmp_path: Path) -> None:
    circuit = tmp_path / "c.stim"
    circuit.write_text(kit.text)
    path = tmp_path / "s.sock"
    command = [sys.executable, "-c", VERB, "serve", "--socket", str(path), "--http", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as server:
        assert server.stderr is not None
        ready = json.loads(server.stderr.readline())
        assert ready["event"] == "ready"
        arguments = [
            "--circuit",
            str(circuit),
            "--socket",
            str(path),
            "--rounds",
            "800",
            "--period-us",
            "500",
        ]
        out = tmp_path / "out"
        assert stream_verb.run([*arguments, "--commit", "2", "--out", str(out)]) == 0
        assert {file.name for file in out.iterdir()} == {
            "commit.hgrm",
            "result.hgrm",
            "service.hgrm",
            "latency.png",
        }
        server.send_signal(signal.SIGTERM)
        events = [json.loads(line)["event"] for line in server.stderr]
        assert events[-2:] == ["draining", "ended"]
        assert server.wait() == 0
    assert not path.exists()
    assert all(not _alive(pid) for pid in ready["workers"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tcp", "0.0.0.0:80"], "refusing to listen on 0.0.0.0:80"),
        (["--tcp", "localhost"], "HOST:PORT"),
        (["--tls-key", __file__], "--tls-certificate and --tls-key"),
        (["--workers", "0"], "--workers is 0"),
        (["--busy-poll", "-1"], "--busy-poll is -1"),
        (["--log-level", "loud"], "--log-level is 'loud'"),
        (["--gap-deadline", "nan"], "--gap-deadline is nan"),
        (["--http", "99999"], "--http is 99999"),
        (["--state", __file__], "is a file; give a folder"),
        (["--keep-gigabytes", "nan"], "--keep-gigabytes is nan"),
        (["--keep-days", "0"], "--keep-days is 0"),
        (["--device", "gpu"], "device 'gpu' is unknown; use 'auto', 'cpu', 'cuda' or one GPU: 'cuda:0'"),
        (["--device", "cuda:97"], r"device 'cuda:97' is not usable: .+; use 'auto' or 'cpu'$"),
    ],
)
def test_flags_that_do_not_go_together(flags: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        serve_verb.run(flags)


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a token of some length")
    token.chmod(0o644)
    with pytest.raises(ValueError, match="chmod 600"):
        serve_verb.run(["--token-file", str(token)])


def test_stream_without_a_service_says_how_to_start_one(kit, tmp_path: Path) -> None:
    circuit = tmp_path / "c.stim"
    circuit.write_text(kit.text)
    with pytest.raises(OSError, match="start one: qecpipe serve"):
        stream_verb.run(["--circuit", str(circuit), "--socket", str(tmp_path / "none")])


def test_the_package_is_a_list_that_loads_nothing() -> None:
    script = "import sys, decoder_service; print([m for m in sys.modules if m in sys.argv])"
    heavy = ["numpy", "stim", "pymatching", "msgspec", "asyncio", "torch"]
    run = subprocess.run([sys.executable, "-c", script, *heavy], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
    assert all(getattr(decoder_service, name) is not None for name in decoder_service.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        decoder_service.nothing  # noqa: B018


def _samples(port: int | None, *, until: tuple[str, float]) -> dict[str, float]:
    """Sums over labels, once the worker's next report has come."""
    for _ in range(100):
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(get(port, "/metrics").decode()):
            for sample in family.samples:
                found[sample.name] = found.get(sample.name, 0) + sample.value
        if found.get(until[0]) == until[1]:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{until[0]} is {found.get(until[0])}, not {until[1]}")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
