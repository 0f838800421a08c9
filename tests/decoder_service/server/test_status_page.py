"""The status page in a real browser: what it shows is what the service says."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((path for name in NAMES if (path := shutil.which(name))), None)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_the_page_shows_backlog_latency_density_and_drift(serve, kit, tmp_path: Path) -> None:
    server = serve(http=0)
    port = server.front_end.http_port
    with server.client() as client:
        stream = client.open(kit.text, **kit.options)
        kit.push_all(client, stream, kit.sample(100, seed=50))
        _wait_for(port, b'"shots": 100')
        shown = _open(tmp_path, f"http://127.0.0.1:{port}/", "--dump-dom").decode()
        assert _open(tmp_path, f"http://127.0.0.1:{port}/", f"--screenshot={tmp_path / 'page.png'}") == b""
    assert (tmp_path / "page.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert '<span id="state" class="live">live</span>' in shown
    assert "<b>100</b><span>shots</span>" in shown
    assert "<b>700</b><span>rounds</span>" in shown
    assert f">{client.session[:8]}/0</span>" in shown
    assert "backlog 0 of 2048" in shown
    assert shown.count('title="stabilizer ') == stream.shape.bits(1)
    assert "learning its baseline" in shown
    for stage in ("queue", "decode"):
        assert f"<td>{stage}</td><td>≤ " in shown


def _wait_for(port: int | None, text: bytes) -> None:
    for _ in range(100):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/status.json", timeout=10) as answer:
            if text in answer.read():
                return
        time.sleep(0.1)
    raise AssertionError(f"the status never had {text!r}")


def _open(folder: Path, url: str, action: str) -> bytes:
    """Loads the page, lets it live for three (virtual) seconds, and returns what the browser prints."""
    assert BROWSER is not None
    command = [BROWSER, "--headless", "--disable-gpu", f"--user-data-dir={folder / 'profile'}", action]
    command += ["--window-size=1100,900", "--virtual-time-budget=3000", "--no-first-run"]
    if os.getuid() == 0:
        command.append("--no-sandbox")  # which root cannot have; the page is our own
    return subprocess.run([*command, url], check=True, capture_output=True, timeout=120).stdout
